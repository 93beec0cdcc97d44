#include "agent/codec.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "agent/msgpack_io.hpp"

namespace bai::server::wire {
namespace {

constexpr std::size_t kMaxHeaderBytes = 4096;
constexpr std::size_t kMaxTracebackBytes = 8192;  // kept of a peer's traceback
constexpr std::uint8_t kEmptyArray[] = {0x90};

// The outer map. `meta` differs by message type; a null body is written as nil.
Bytes envelope(ByteView meta, const ByteView* body) {
  Packer p;
  p.map(2).str("meta").bin(meta).str("body");
  if (body != nullptr)
    p.bin(*body);
  else
    p.nil();
  return p.take();
}

struct Envelope {
  Bytes meta, body;
  bool has_body = false;
};

Result<Envelope> open_envelope(ByteView bytes, const Limits& limits) {
  auto root = unpack(bytes, limits);
  if (!root) return std::unexpected(root.error());
  auto* map = root->get<Value::Map>();
  if (map == nullptr) return fail(ErrorCode::Corruption, "The message body is no map.");
  Envelope out;
  for (auto& [key, value] : *map) {
    const auto* name = key.get<std::string>();
    auto* data = value.get<Bytes>();
    if (name == nullptr || (*name != "meta" && *name != "body") || value.is_null()) continue;
    if (data == nullptr)
      return fail(ErrorCode::Corruption, fmt::format("`{}` of the message is not binary.", *name));
    if (*name == "body") out.has_body = true;
    (*name == "meta" ? out.meta : out.body) = std::move(*data);
  }
  return out;
}

std::unexpected<bai::Error> bad_header(std::string_view why) {
  return fail(ErrorCode::Corruption, fmt::format("The message header is malformed: {}.", why));
}

}  // namespace

Bytes encode_header(const Header& header) {
  Packer p;
  p.map(5).str("type").integer(static_cast<int>(header.type));
  p.str("meth").str(header.method).str("okey");
  if (header.okey.is_text) {
    p.str(header.okey.data);
  } else {
    const auto* data = reinterpret_cast<const std::uint8_t*>(header.okey.data.data());
    p.bin({data, header.okey.data.size()});
  }
  p.str("seq").integer(header.seq).str("zip").boolean(false);
  return p.take();
}

Result<Header> decode_header(ByteView bytes) {
  Limits limits;
  limits.max_frame_bytes = kMaxHeaderBytes;
  limits.max_elements = 64;
  const auto root = unpack(bytes, limits);
  if (!root) return std::unexpected(root.error());
  const auto number = [&](std::string_view key) -> const std::int64_t* {
    const Value* v = root->find(key);
    return v ? v->get<std::int64_t>() : nullptr;
  };
  const auto *type = number("type"), *seq = number("seq");
  if (type == nullptr || *type < 0 || *type > static_cast<int>(MessageType::Cancelled))
    return bad_header("`type` is not a number from 0 to 6");
  if (seq == nullptr || *seq < 0 || *seq > std::int64_t{UINT32_MAX})
    return bad_header("`seq` is not a 32-bit number");
  const Value *method = root->find("meth"), *okey = root->find("okey"), *zip = root->find("zip");
  if (method == nullptr || method->get<std::string>() == nullptr)
    return bad_header("`meth` is not text");
  if (okey == nullptr) return bad_header("`okey` is missing");
  Header out{static_cast<MessageType>(*type),
             *method->get<std::string>(),
             {},
             static_cast<std::uint32_t>(*seq)};
  if (const auto* text = okey->get<std::string>())
    out.okey = {*text, true};
  else if (const auto* data = okey->get<Bytes>())
    out.okey = {{data->begin(), data->end()}, false};
  else
    return bad_header("`okey` is neither binary nor text");
  if (zip != nullptr && zip->get<bool>() != nullptr && *zip->get<bool>())
    return fail(ErrorCode::Unsupported, "The message is compressed (zip); send it uncompressed.");
  return out;
}

Bytes encode_cancel() { return envelope(kEmptyArray, nullptr); }

Result<AgentReply> decode_result(ByteView body, const Limits& limits) {
  const auto env = open_envelope(body, limits);
  if (!env) return std::unexpected(env.error());
  if (!env->has_body || env->body.empty()) return AgentReply{};
  auto value = unpack(env->body, limits);
  if (!value) return std::unexpected(value.error());
  AgentReply reply;
  if (auto* data = value->get<Bytes>())
    reply.data = std::move(*data);
  else
    reply.value = to_json(*value);
  return reply;
}

bai::Error decode_failure(ByteView body, const Limits& limits) {
  const auto env = open_envelope(body, limits);
  if (!env) return env.error();
  const auto meta = unpack(env->meta, limits);
  if (!meta) return meta.error();
  const auto* parts = meta->get<Value::Array>();
  if (parts == nullptr || parts->empty() || (*parts)[0].get<std::string>() == nullptr)
    return {ErrorCode::Corruption, "The agent's failure report names no exception.", {}, {}};
  const auto part = [&](std::size_t i) {
    const auto* text = i < parts->size() ? (*parts)[i].get<std::string>() : nullptr;
    return text ? valid_utf8(std::string_view(*text).substr(0, kMaxTracebackBytes)) : std::string();
  };
  bai::Error error{ErrorCode::Internal, {}, part(0), {}};
  const std::string repr = part(1);
  std::string_view inner = repr;
  if (inner.size() >= error.kind.size() + 2 && inner.starts_with(error.kind) &&
      inner[error.kind.size()] == '(' && inner.ends_with(')'))
    inner = inner.substr(error.kind.size() + 1, inner.size() - error.kind.size() - 2);
  error.message = python_unrepr(inner);
  if (error.message.empty()) error.message = error.kind;
  if (std::string traceback = part(2); !traceback.empty())
    error.data.emplace_back("traceback", std::move(traceback));
  return error;
}

Result<Bytes> encode_result(const Json& value, const Limits& limits) {
  Packer p;
  p.json(value, limits.max_depth);
  if (p.failed())
    return fail(ErrorCode::InvalidArgument,
                fmt::format("The result is nested deeper than {}.", limits.max_depth));
  const ByteView body = p.view();
  Bytes out = envelope(kEmptyArray, &body);
  if (out.size() > limits.max_frame_bytes)
    return fail(ErrorCode::InvalidArgument, fmt::format("The result has {} bytes; at most {} fit.",
                                                        out.size(), limits.max_frame_bytes));
  return out;
}

Bytes encode_result_bytes(ByteView data) {
  Packer p;
  p.bin(data);
  const ByteView body = p.view();
  return envelope(kEmptyArray, &body);
}

Bytes encode_failure(std::string_view kind, std::string_view message, std::string_view traceback) {
  Packer p;
  p.array(3).str(kind).str(fmt::format("{}({})", kind, python_repr(message))).str(traceback);
  return envelope(p.view(), nullptr);
}

std::string python_repr(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\')
      (out += '\\') += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out += quote;
}

std::string python_unrepr(std::string_view text) {
  std::string as_is(text);
  if (text.size() < 2 || (text[0] != '\'' && text[0] != '"') || text.back() != text[0])
    return as_is;
  const char quote = text[0];
  text = text.substr(1, text.size() - 2);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == quote) return as_is;  // more than one literal: ('a', 'b')
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i == text.size()) return as_is;
    switch (text[i]) {
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case '\\':
      case '\'':
      case '"':
        out += text[i];
        break;
      default:
        (out += '\\') += text[i];  // \x and \u stay readable as they are
    }
  }
  return out;
}

ImageRef image_ref_of(const ImageSpec& image) {
  std::string_view rest = image.canonical;
  const auto strip = [&rest](std::string_view prefix) {
    if (!prefix.empty() && rest.size() > prefix.size() && rest.starts_with(prefix) &&
        rest[prefix.size()] == '/')
      rest.remove_prefix(prefix.size() + 1);
  };
  strip(image.registry);
  strip(image.project);
  ImageRef ref;
  const std::size_t slash = rest.rfind('/'), colon = rest.rfind(':');
  const bool tagged = colon != rest.npos && (slash == rest.npos || colon > slash);
  ref.name = std::string(tagged ? rest.substr(0, colon) : rest);
  ref.tag = tagged ? std::string(rest.substr(colon + 1)) : "latest";
  ref.project = image.project;
  ref.registry = image.registry;
  ref.architecture = image.architecture;
  ref.is_local = image.is_local;
  return ref;
}

}  // namespace bai::server::wire
