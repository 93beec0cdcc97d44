// What must hold for any bytes from an agent or a manager. Shared by the libFuzzer target and by
// the replay of its corpus in the unit tests.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/codec.hpp"

namespace bai::server::wire::fuzz {

inline constexpr std::array<std::string_view, 16> kMethods = {"check_and_pull",
                                                              "create_kernels",
                                                              "destroy_kernel",
                                                              "check_creating",
                                                              "check_running",
                                                              "sync_kernel_registry",
                                                              "trigger_batch_execution",
                                                              "execute",
                                                              "interrupt_kernel",
                                                              "get_completions",
                                                              "get_logs",
                                                              "list_files",
                                                              "upload_file",
                                                              "download_file",
                                                              "download_single",
                                                              "ping"};
inline constexpr std::array<std::string_view, 13> kEvents = {
    "agent_started",       "agent_terminated",  "agent_heartbeat",   "image_pull_started",
    "image_pull_finished", "image_pull_failed", "kernel_preparing",  "kernel_pulling",
    "kernel_creating",     "kernel_started",    "kernel_terminated", "session_success",
    "session_failure"};

inline std::string check_header(ByteView in) {
  const auto header = decode_header(in);
  if (!header) return header.error().message.empty() ? "a refusal without a reason" : "";
  // Invalid UTF-8 in the method is repaired when it is sent, so the second reading decides.
  const auto again = decode_header(encode_header(*header));
  if (!again) return "an encoded header does not decode";
  if (again->seq != header->seq || again->type != header->type) return "a header changed";
  return encode_header(*again) == encode_header(*header) ? "" : "a header is not stable";
}

inline std::string check_function(std::string_view method, ByteView in) {
  const Header header{MessageType::Function, std::string(method), {}, 0};
  const auto first = decode_function(header, in);
  if (!first) return first.error().message.empty() ? "a refusal without a reason" : "";
  const AgentId agent("a");
  const auto bytes = encode_function(agent, first->request);
  if (!bytes) return "";  // grew beyond a limit
  const auto second = decode_function(header, *bytes);
  if (!second) return "an encoded call does not decode: " + second.error().message;
  if (second->request.index() != first->request.index()) return "a call changed its kind";
  const auto stable = encode_function(agent, second->request);
  return stable && *stable == *bytes ? "" : "a call is not stable";
}

inline std::string check_result(ByteView in) {
  const auto reply = decode_result(in);
  if (!reply) return reply.error().message.empty() ? "a refusal without a reason" : "";
  return Json::parse(reply->value.dump()) ? "" : "a result is no valid JSON";
}

inline std::string check_failure(ByteView in) {
  const bai::Error error = decode_failure(in);
  if (error.message.empty() && error.kind.empty()) return "a failure without a text";
  return error.code == ErrorCode::Internal || error.code == ErrorCode::Corruption
             ? ""
             : "a failure of another code";
}

inline std::string check_pickle(ByteView in) {
  (void)unpickle_scalar(in);
  const auto ref = unpickle_image_ref(in);
  if (!ref) return "";
  const auto again = unpickle_image_ref(pickle_image_ref(*ref));
  if (!again) return "a pickled reference does not unpickle";
  return pickle_image_ref(*again) == pickle_image_ref(*ref) ? "" : "a reference is not stable";
}

inline std::string check_event(std::string_view name, ByteView in) {
  const std::string_view text(reinterpret_cast<const char*>(in.data()), in.size());
  const auto event = parse_agent_event(name, "a", text);
  if (!event) return event.error().message.empty() ? "a refusal without a reason" : "";
  const auto [written, payload] = format_agent_event(event->body);
  if (written != name) return "an event changed its name";
  const auto again = parse_agent_event(written, "a", payload);
  if (!again) return "a written event does not parse: " + again.error().message;
  return format_agent_event(again->body).second == payload ? "" : "an event is not stable";
}

// The first byte says what the rest is, for calls and events a second one which. Empty: all is
// well.
inline std::string check_bytes(ByteView in) {
  if (in.size() < 2) return "";
  const std::size_t which = in[1];
  const ByteView rest = in.subspan(1), after = in.subspan(2);
  switch (in[0]) {
    case 'h':
      return check_header(rest);
    case 'c':
      return check_function(kMethods[which % kMethods.size()], after);
    case 'r':
      return check_result(rest);
    case 'f':
      return check_failure(rest);
    case 'p':
      return check_pickle(rest);
    case 'e':
      return check_event(kEvents[which % kEvents.size()], after);
    default:
      return "";
  }
}

}  // namespace bai::server::wire::fuzz
