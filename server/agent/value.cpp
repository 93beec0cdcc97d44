#include "agent/value.hpp"

#define MSGPACK_NO_BOOST
#include <fmt/format.h>

#include <algorithm>
#include <msgpack.hpp>

#include "agent/pickle.hpp"
#include "bai_manager/ids.hpp"

namespace bai::server::wire {
namespace {

// Builds the tree as the parser walks, growing containers only as their elements really arrive, so
// that a header which claims four billion elements costs nothing.
class Builder : public msgpack::null_visitor {
 public:
  Builder(const Limits& limits, Value& root) : limits_(limits), root_(root) {}

  bool visit_nil() { return put(Value()); }
  bool visit_boolean(bool v) { return put(Value(Value::Any(v))); }
  bool visit_positive_integer(std::uint64_t v) {
    if (v <= static_cast<std::uint64_t>(INT64_MAX))
      return visit_negative_integer(static_cast<std::int64_t>(v));
    return put(Value(Value::Any(static_cast<double>(v))));
  }
  bool visit_negative_integer(std::int64_t v) { return put(Value(Value::Any(v))); }
  bool visit_float32(float v) { return put(Value(Value::Any(static_cast<double>(v)))); }
  bool visit_float64(double v) { return put(Value(Value::Any(v))); }
  bool visit_str(const char* v, std::uint32_t size) {
    return put(Value(Value::Any(std::string(v, size))));
  }
  bool visit_bin(const char* v, std::uint32_t size) {
    return put(Value(Value::Any(bytes(v, size))));
  }
  bool visit_ext(const char* v, std::uint32_t size) {  // the first byte is the type
    if (size == 0) return refuse("an extension without a type");
    return put(Value(Value::Any(Value::Ext{static_cast<std::int8_t>(*v), bytes(v + 1, size - 1)})));
  }
  bool start_array(std::uint32_t) { return open(Value(Value::Any(Value::Array{}))); }
  bool end_array() { return close(); }
  bool start_map(std::uint32_t) { return open(Value(Value::Any(Value::Map{}))); }
  bool start_map_key() { return set_in_key(true); }
  bool end_map_key() { return set_in_key(false); }
  bool end_map() { return close(); }
  void parse_error(std::size_t, std::size_t at) { note("not msgpack", at); }
  void insufficient_bytes(std::size_t, std::size_t at) { note("it ends too early", at); }

  const std::string& problem() const noexcept { return problem_; }

 private:
  static Bytes bytes(const char* v, std::uint32_t size) {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(v);
    return {begin, begin + size};
  }
  bool set_in_key(bool in_key) {
    in_key_.back() = in_key;
    return true;
  }
  bool refuse(std::string why) {
    if (problem_.empty()) problem_ = std::move(why);
    return false;
  }
  void note(std::string_view what, std::size_t at) {
    if (problem_.empty()) problem_ = fmt::format("{} (byte {})", what, at);
  }
  Value* place(Value value) {
    if (++elements_ > limits_.max_elements) {
      refuse(fmt::format("it has more than {} elements", limits_.max_elements));
      return nullptr;
    }
    if (open_.empty()) return &(root_ = std::move(value));
    if (auto* array = open_.back()->get<Value::Array>())
      return &array->emplace_back(std::move(value));
    auto& map = *open_.back()->get<Value::Map>();
    if (in_key_.back() && map.size() >= limits_.max_map_members) {
      refuse(fmt::format("a map has more than {} members", limits_.max_map_members));
      return nullptr;
    }
    if (in_key_.back()) return &map.emplace_back(std::move(value), Value()).first;
    return &(map.back().second = std::move(value));
  }
  bool put(Value value) { return place(std::move(value)) != nullptr; }
  bool open(Value value) {
    if (open_.size() >= static_cast<std::size_t>(limits_.max_depth))
      return refuse(fmt::format("it is nested deeper than {}", limits_.max_depth));
    Value* const placed = place(std::move(value));
    if (placed == nullptr) return false;
    open_.push_back(placed);  // stays valid: its own container does not grow while it is open
    in_key_.push_back(false);
    return true;
  }
  bool close() {
    open_.pop_back();
    in_key_.pop_back();
    return true;
  }

  const Limits& limits_;
  Value& root_;
  std::vector<Value*> open_;
  std::vector<char> in_key_;
  std::size_t elements_ = 0;
  std::string problem_;
};

// Length of the well-formed UTF-8 sequence at the start of `s`, 0 when there is none.
std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F))
    return 0;
  return n;
}

std::string text_of(const Bytes& b) {
  return valid_utf8({reinterpret_cast<const char*>(b.data()), b.size()});
}

Json ext_to_json(const Value::Ext& ext) {
  switch (ext.type) {
    case 1: {
      std::array<std::uint8_t, 16> id{};
      if (ext.data.size() != id.size()) return {};
      std::copy(ext.data.begin(), ext.data.end(), id.begin());
      return Json(uuid_to_string(id));
    }
    case 3:
    case 6:
    case 9:
    case 16:
      return unpickle_scalar(ext.data).value_or(Json());
    case 4:
    case 5:
    case 17:
      return Json(text_of(ext.data));
    default:
      return {};
  }
}

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  const auto* map = get<Map>();
  if (map == nullptr) return nullptr;
  for (const auto& [k, v] : *map)
    if (const auto* text = k.get<std::string>(); text != nullptr && *text == key) return &v;
  return nullptr;
}

Result<Value> unpack(ByteView bytes, const Limits& limits) {
  if (bytes.size() > limits.max_frame_bytes)
    return fail(ErrorCode::Corruption,
                fmt::format("The message has {} bytes; at most {} are allowed.", bytes.size(),
                            limits.max_frame_bytes));
  Value root;
  Builder builder(limits, root);
  std::size_t offset = 0;
  bool complete = false;
  try {
    complete =
        msgpack::parse(reinterpret_cast<const char*>(bytes.data()), bytes.size(), offset, builder);
  } catch (const std::exception& e) {  // msgpack-cxx reports sizes it cannot handle this way
    return fail(ErrorCode::Corruption, fmt::format("The message does not decode: {}.", e.what()));
  }
  if (!complete || offset != bytes.size()) {
    const std::string why = !builder.problem().empty() ? builder.problem()
                            : complete                 ? "something follows the document"
                                                       : "it ends too early";
    return fail(ErrorCode::Corruption, fmt::format("The message does not decode: {}.", why));
  }
  return root;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    out.append(n == 0 ? "\xEF\xBF\xBD" : text.substr(0, n));
    text.remove_prefix(std::max<std::size_t>(n, 1));
  }
  return out;
}

Json to_json(const Value& value) {
  if (const auto* b = value.get<bool>()) return Json(*b);
  if (const auto* n = value.get<std::int64_t>()) return Json(*n);
  if (const auto* d = value.get<double>()) return Json(*d);
  if (const auto* s = value.get<std::string>()) return Json(valid_utf8(*s));
  if (const auto* b = value.get<Bytes>()) return Json(text_of(*b));
  if (const auto* e = value.get<Value::Ext>()) return ext_to_json(*e);
  if (const auto* a = value.get<Value::Array>()) {
    Json::Array out;
    out.reserve(a->size());
    for (const Value& item : *a) out.push_back(to_json(item));
    return Json(std::move(out));
  }
  if (const auto* m = value.get<Value::Map>()) {
    Json out = Json::object();
    for (const auto& [key, member] : *m) {
      const Json name = to_json(key);
      out.set(name.is_string() ? std::string(name.as_string()) : name.dump(), to_json(member));
    }
    return out;
  }
  return {};
}

}  // namespace bai::server::wire
