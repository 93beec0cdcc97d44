#include "bai_manager/json.hpp"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/assert.hpp"
#include "base/text.hpp"

namespace bai {

namespace {

const Json kNull;
const Json::Array kNoItems;
const Json::Object kNoMembers;

// ---- writing ------------------------------------------------------------------------------------

void write_escape(std::string& out, char c) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 0x0F];
  }
}

// Malformed UTF-8 (raw output of a program, say) becomes U+FFFD, so that the text stays JSON.
void write_string(std::string& out, std::string_view text) {
  out += '"';
  std::size_t plain = 0;  // start of the run that needs no change
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t length = c < 0x80 ? 1 : base::utf8_length(text, i);
    const bool escape = c < 0x20 || c == '"' || c == '\\';
    if (length > 0 && !escape) {
      i += length;
      continue;
    }
    out += text.substr(plain, i - plain);
    if (escape) {
      write_escape(out, text[i]);
    } else {
      out += "\xEF\xBF\xBD";
    }
    plain = ++i;
  }
  out += text.substr(plain);
  out += '"';
}

void write_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";  // reads back as a double
}

void write_int(std::string& out, std::int64_t value) {
  char buffer[24];
  out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
}

// `indent` < 0: compact.
struct Writer {
  std::string& out;
  bool pretty;

  void line(int depth) {
    if (!pretty) return;
    out += '\n';
    out.append(static_cast<std::size_t>(depth) * 2, ' ');
  }
  void write_array(const Json::Array& items, int depth) {
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      write(items[i], depth + 1);
    }
    if (!items.empty()) line(depth);
    out += ']';
  }
  void write_object(const Json::Object& members, int depth) {
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      write_string(out, members[i].first);
      out += pretty ? ": " : ":";
      write(members[i].second, depth + 1);
    }
    if (!members.empty()) line(depth);
    out += '}';
  }
  void write(const Json& value, int depth) {
    if (value.is_object()) return write_object(value.members(), depth);
    if (value.is_array()) return write_array(value.items(), depth);
    if (value.is_string()) return write_string(out, value.as_string());
    if (value.is_int()) return write_int(out, value.as_int());
    if (value.is_number()) return write_double(out, value.as_double());
    out += value.is_null() ? "null" : value.as_bool() ? "true" : "false";
  }
};

// ---- reading ------------------------------------------------------------------------------------

// The value of a repeated key moves to the place of the first one. Sorting once per object keeps
// a document with many keys from costing the square of their number.
void drop_repeated(Json::Object& members) {
  if (members.size() < 2) return;
  std::vector<std::size_t> order(members.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return members[a].first < members[b].first;
  });
  std::vector<bool> dropped(members.size());
  bool any = false;
  for (std::size_t i = 0; i < order.size();) {
    std::size_t last = i;
    while (last + 1 < order.size() && members[order[last + 1]].first == members[order[i]].first) {
      dropped[order[++last]] = true;
    }
    if (last > i) {
      members[order[i]].second = std::move(members[order[last]].second);
      any = true;
    }
    i = last + 1;
  }
  if (!any) return;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (dropped[i]) continue;
    if (kept != i) members[kept] = std::move(members[i]);
    ++kept;
  }
  members.resize(kept);
}

// Whether a number that is no zero is above 1, as far as its digits and its exponent say.
bool is_large(std::string_view number) {
  const std::size_t end = std::min(number.find_first_of("eE"), number.size());
  const std::string_view digits = number.substr(0, end);
  const std::size_t point = std::min(digits.find('.'), end),
                    first = digits.find_first_of("123456789");
  std::int64_t exponent = 0;
  if (end < number.size()) {
    const char* const from = number.data() + end + (number[end + 1] == '+' ? 2 : 1);
    // The reader has refused large positive ones.
    if (std::from_chars(from, number.data() + number.size(), exponent).ec != std::errc()) {
      return false;
    }
  }
  return exponent + static_cast<std::int64_t>(point) > static_cast<std::int64_t>(first);
}

// Builds the document from the reader's events. Returning false stops the reader.
class Builder {
 public:
  Json root;
  const char* problem = nullptr;

  bool Null() { return add(Json()); }
  bool Bool(bool value) { return add(Json(value)); }
  // The reader leaves numbers to us: of 0e45 it would make something that is not 0.
  bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
    const char* const end = text + length;
    const std::string_view view(text, length);
    if (view.find_first_of(".eE") == std::string_view::npos) {
      std::int64_t whole = 0;
      if (std::from_chars(text, end, whole).ec == std::errc()) return add(Json(whole));
    }
    double value = 0;
    if (std::from_chars(text, end, value).ec == std::errc()) return add(Json(value));
    if (is_large(view)) return stop("a number too large for a double");
    return add(Json(view.starts_with('-') ? -0.0 : 0.0));
  }
  // Never called.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }
  bool String(const char* text, rapidjson::SizeType length, bool) {
    // The reader lets a lone low surrogate escape through, which is not UTF-8.
    const std::string_view view(text, length);
    if (!base::is_utf8(view)) return stop("a string that is not valid UTF-8");
    return add(Json(view));
  }
  bool StartObject() { return open(true); }
  bool Key(const char* text, rapidjson::SizeType length, bool) {
    const std::string_view view(text, length);
    if (!base::is_utf8(view)) return stop("a key that is not valid UTF-8");
    frames_.back().members.emplace_back(std::string(view), Json());
    return true;
  }
  bool EndObject(rapidjson::SizeType) {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    drop_repeated(frame.members);
    return add(Json::from_members(std::move(frame.members)));
  }
  bool StartArray() { return open(false); }
  bool EndArray(rapidjson::SizeType) {
    Json::Array items = std::move(frames_.back().items);
    frames_.pop_back();
    return add(Json(std::move(items)));
  }

 private:
  struct Frame {
    bool is_object = false;
    Json::Array items;
    Json::Object members;
  };

  bool stop(const char* what) {
    problem = what;
    return false;
  }
  bool open(bool is_object) {
    if (frames_.size() >= static_cast<std::size_t>(Json::kMaxDepth)) {
      return stop("more nested arrays and objects than allowed (128)");
    }
    frames_.push_back(Frame{is_object, {}, {}});
    return true;
  }
  bool add(Json value) {
    if (frames_.empty()) {
      root = std::move(value);
    } else if (frames_.back().is_object) {
      frames_.back().members.back().second = std::move(value);
    } else {
      frames_.back().items.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Frame> frames_;
};
static_assert(Json::kMaxDepth == 128, "the message above names the number");

}  // namespace

Json Json::object(std::initializer_list<Member> members) {
  Json j = object();
  for (const Member& member : members) j.set(member.first, member.second);
  return j;
}

Json Json::from_members(Object members) {
  Json j;
  j.value_ = std::move(members);
  return j;
}

bool Json::as_bool(bool fallback) const noexcept {
  const auto* value = std::get_if<bool>(&value_);
  return value ? *value : fallback;
}

std::int64_t Json::as_int(std::int64_t fallback) const noexcept {
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
  const auto* value = std::get_if<double>(&value_);
  if (!value || std::isnan(*value)) return fallback;
  constexpr double kTwo63 = 9223372036854775808.0;
  if (*value >= kTwo63) return std::numeric_limits<std::int64_t>::max();
  if (*value < -kTwo63) return std::numeric_limits<std::int64_t>::min();
  return static_cast<std::int64_t>(*value);
}

double Json::as_double(double fallback) const noexcept {
  if (const auto* value = std::get_if<double>(&value_)) return *value;
  const auto* value = std::get_if<std::int64_t>(&value_);
  return value ? static_cast<double>(*value) : fallback;
}

std::string_view Json::as_string(std::string_view fallback) const noexcept {
  const auto* value = std::get_if<std::string>(&value_);
  return value ? std::string_view(*value) : fallback;
}

const Json::Array& Json::items() const noexcept {
  const auto* value = std::get_if<Array>(&value_);
  return value ? *value : kNoItems;
}

const Json::Object& Json::members() const noexcept {
  const auto* value = std::get_if<Object>(&value_);
  return value ? *value : kNoMembers;
}

const Json* Json::find(std::string_view key) const noexcept {
  for (const Member& member : members()) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

const Json& Json::operator[](std::string_view key) const noexcept {
  const Json* found = find(key);
  return found ? *found : kNull;
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) value_ = Object{};
  auto* object = std::get_if<Object>(&value_);
  BAI_ASSERT(object != nullptr, "set() needs an object or null");
  for (Member& member : *object) {
    if (member.first == key) {
      member.second = std::move(value);
      return member.second;
    }
  }
  object->emplace_back(std::move(key), std::move(value));
  return object->back().second;
}

void Json::erase(std::string_view key) {
  auto* object = std::get_if<Object>(&value_);
  if (!object) return;
  std::erase_if(*object, [&](const Member& member) { return member.first == key; });
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array{};
  auto* array = std::get_if<Array>(&value_);
  BAI_ASSERT(array != nullptr, "push_back() needs an array or null");
  array->push_back(std::move(value));
}

std::size_t Json::size() const noexcept { return is_object() ? members().size() : items().size(); }

void Json::dump_to(std::string& out) const { Writer{out, false}.write(*this, 0); }

std::string Json::dump() const {
  std::string out;
  dump_to(out);
  return out;
}

std::string Json::dump_pretty() const {
  std::string out;
  Writer{out, true}.write(*this, 0);
  return out;
}

Result<Json> Json::parse(std::string_view text) {
  constexpr unsigned kFlags =
      rapidjson::kParseValidateEncodingFlag | rapidjson::kParseNumbersAsStringsFlag;
  rapidjson::MemoryStream stream(text.data(), text.size());
  rapidjson::Reader reader;
  Builder builder;
  const rapidjson::ParseResult parsed = reader.Parse<kFlags>(stream, builder);
  const char* problem = nullptr;
  std::size_t offset = parsed.Offset();
  if (parsed.IsError()) {
    problem = builder.problem ? builder.problem : rapidjson::GetParseError_En(parsed.Code());
  } else if (stream.Tell() != text.size()) {
    // The reader takes a NUL byte for the end of its input.
    problem = "a NUL byte behind the document";
    offset = stream.Tell();
  }
  if (problem) {
    return fail(ErrorCode::InvalidArgument,
                "not valid JSON at byte " + std::to_string(offset) + ": " + problem);
  }
  return std::move(builder.root);
}

}  // namespace bai
