// The agent RPC as bytes. Pure functions; nothing throws; what a peer sent never reaches a caller
// unchecked. One message is three frames, [ztype, header, body]; the body is msgpack inside
// msgpack.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/pickle.hpp"
#include "agent/value.hpp"
#include "bai_manager/agent.hpp"

namespace bai::server::wire {

inline constexpr std::string_view kUpper = "UPPER", kPing = "PING", kPong = "PONG";

enum class MessageType : std::uint8_t { Null, Function, Result, Failure, Error, Cancel, Cancelled };

// The peer echoes it byte for byte, so its msgpack type is part of it.
struct OrderingKey {
  std::string data;
  bool is_text = false;  // else bin
  friend bool operator==(const OrderingKey&, const OrderingKey&) = default;
};

struct Header {
  MessageType type = MessageType::Null;
  std::string method;
  OrderingKey okey;
  std::uint32_t seq = 0;
  friend bool operator==(const Header&, const Header&) = default;
};

Bytes encode_header(const Header& header);
Result<Header> decode_header(ByteView bytes);  // Unsupported: a compressed body

// ---- the manager's side -------------------------------------------------------------------------

// InvalidArgument when the request does not fit the limits or names no agent.
Result<Bytes> encode_function(const AgentId& agent, const AgentRequest& request,
                              const Limits& limits = {});
Bytes encode_cancel();  // also the body of CANCELLED

Result<AgentReply> decode_result(ByteView body, const Limits& limits = {});
// FAILURE and ERROR: always an Internal error whose kind is the exception's class; Corruption when
// the body does not decode.
bai::Error decode_failure(ByteView body, const Limits& limits = {});

// ---- the agents' side ---------------------------------------------------------------------------

struct Function {
  AgentId agent;  // empty: the process's primary agent
  AgentRequest request;
};
// Unsupported: a method that is none of AgentRequest. InvalidArgument: arguments that do not fit;
// `kind` is the Python exception an agent would raise. Corruption: not decodable.
Result<Function> decode_function(const Header& header, ByteView body, const Limits& limits = {});

Result<Bytes> encode_result(const Json& value, const Limits& limits = {});
Bytes encode_result_bytes(ByteView data);
Bytes encode_failure(std::string_view kind, std::string_view message, std::string_view traceback);

// ---- shared -------------------------------------------------------------------------------------

// "registry/project/name:tag" taken apart; no tag: "latest".
ImageRef image_ref_of(const ImageSpec& image);
// Python's repr of a str, as in FAILURE's `KeyError('x')`, and back (text that is none: as it is).
std::string python_repr(std::string_view text);
std::string python_unrepr(std::string_view text);

}  // namespace bai::server::wire
