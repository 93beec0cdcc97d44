// How each C++ field type is stored, printed and parsed. One specialisation per type.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/schema.hpp"
#include "base/assert.hpp"

namespace bai {

namespace codec {

// "is 12, but must be text" and the like.
std::unexpected<Error> wrong_json(const Json& got, std::string_view wanted);
std::unexpected<Error> wrong_value(std::string_view wanted);

std::string slots_to_text(const SlotMap& slots);
Result<SlotMap> slots_from_text(std::string_view text);
std::string times_to_text(const StatusTimes& times);
Result<StatusTimes> times_from_text(std::string_view text);
Json time_to_json(Timestamp at);
Result<Timestamp> time_from_json(const Json& json);
Result<Duration> duration_from_json(const Json& json);  // seconds, to the nearest nanosecond

}  // namespace codec

template <class T>
struct FieldCodec;

// Codecs of types whose stored and printed forms are text or a number.
template <>
struct FieldCodec<bool> {
  static constexpr FieldType type = FieldType::Bool;
  static constexpr bool optional = false;
  static Value to_value(bool v) { return std::int64_t{v}; }
  static Status from_value(bool& out, const Value& v) {
    const auto* i = std::get_if<std::int64_t>(&v);
    if (i == nullptr) return codec::wrong_value("0 or 1");
    out = *i != 0;
    return {};
  }
  static Json to_json(bool v, const SlotTypes&) { return v; }
  static Status from_json(bool& out, const Json& j, const SlotTypes&) {
    if (!j.is_bool()) return codec::wrong_json(j, "true or false");
    out = j.as_bool();
    return {};
  }
};

template <>
struct FieldCodec<std::int64_t> {
  static constexpr FieldType type = FieldType::Int;
  static constexpr bool optional = false;
  static Value to_value(std::int64_t v) { return v; }
  static Status from_value(std::int64_t& out, const Value& v) {
    const auto* i = std::get_if<std::int64_t>(&v);
    if (i == nullptr) return codec::wrong_value("an integer");
    out = *i;
    return {};
  }
  static Json to_json(std::int64_t v, const SlotTypes&) { return v; }
  static Status from_json(std::int64_t& out, const Json& j, const SlotTypes&) {
    if (!j.is_int()) return codec::wrong_json(j, "an integer");
    out = j.as_int();
    return {};
  }
};

template <>
struct FieldCodec<std::string> {
  static constexpr FieldType type = FieldType::Text;
  static constexpr bool optional = false;
  static Value to_value(const std::string& v) { return v; }
  static Status from_value(std::string& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("text");
    out = *s;
    return {};
  }
  static Json to_json(const std::string& v, const SlotTypes&) { return v; }
  static Status from_json(std::string& out, const Json& j, const SlotTypes&) {
    if (!j.is_string()) return codec::wrong_json(j, "text");
    out = std::string(j.as_string());
    return {};
  }
};

template <class Tag>
struct FieldCodec<Name<Tag>> {
  static constexpr FieldType type = FieldType::Text;
  static constexpr bool optional = false;
  static Value to_value(const Name<Tag>& v) { return v.str(); }
  static Status from_value(Name<Tag>& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("text");
    out = Name<Tag>(*s);
    return {};
  }
  static Json to_json(const Name<Tag>& v, const SlotTypes&) { return v.str(); }
  static Status from_json(Name<Tag>& out, const Json& j, const SlotTypes&) {
    if (!j.is_string()) return codec::wrong_json(j, "text");
    out = Name<Tag>(j.as_string());
    return {};
  }
};

template <class Tag>
struct FieldCodec<Uuid<Tag>> {
  static constexpr FieldType type = FieldType::Uuid;
  static constexpr bool optional = false;
  static Value to_value(const Uuid<Tag>& v) { return to_string(v); }
  static Status from_value(Uuid<Tag>& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    const auto id = s ? parse_uuid<Uuid<Tag>>(*s) : std::nullopt;
    if (!id) return codec::wrong_value("a UUID");
    out = *id;
    return {};
  }
  static Json to_json(const Uuid<Tag>& v, const SlotTypes&) { return to_string(v); }
  static Status from_json(Uuid<Tag>& out, const Json& j, const SlotTypes&) {
    const auto id = parse_uuid<Uuid<Tag>>(j.as_string());
    if (!j.is_string() || !id) return codec::wrong_json(j, "a UUID");
    out = *id;
    return {};
  }
};

template <>
struct FieldCodec<Timestamp> {
  static constexpr FieldType type = FieldType::Time;
  static constexpr bool optional = false;
  static Value to_value(Timestamp v) { return v.ns; }
  static Status from_value(Timestamp& out, const Value& v) {
    return FieldCodec<std::int64_t>::from_value(out.ns, v);
  }
  static Json to_json(Timestamp v, const SlotTypes&) { return codec::time_to_json(v); }
  static Status from_json(Timestamp& out, const Json& j, const SlotTypes&) {
    const auto at = codec::time_from_json(j);
    if (!at) return std::unexpected(at.error());
    out = *at;
    return {};
  }
};

template <>
struct FieldCodec<Duration> {  // seconds in JSON
  static constexpr FieldType type = FieldType::Span;
  static constexpr bool optional = false;
  static Value to_value(Duration v) { return v.ns; }
  static Status from_value(Duration& out, const Value& v) {
    return FieldCodec<std::int64_t>::from_value(out.ns, v);
  }
  static Json to_json(Duration v, const SlotTypes&) { return v.seconds(); }
  static Status from_json(Duration& out, const Json& j, const SlotTypes&) {
    const auto length = codec::duration_from_json(j);
    if (!length) return std::unexpected(length.error());
    out = *length;
    return {};
  }
};

template <NamedEnum E>
struct FieldCodec<E> {
  static constexpr FieldType type = FieldType::Enum;
  static constexpr bool optional = false;
  static std::span<const std::string_view> enum_names() { return EnumText<E>::names; }
  static Value to_value(E v) { return std::string(to_string(v)); }
  static Status from_value(E& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    const auto e = s ? parse_enum<E>(*s) : std::nullopt;
    if (!e) return codec::wrong_value("one of the names of its enumeration");
    out = *e;
    return {};
  }
  static Json to_json(E v, const SlotTypes&) { return to_string(v); }
  static Status from_json(E& out, const Json& j, const SlotTypes&) {
    const auto e = parse_enum<E>(j.as_string());
    if (!j.is_string() || !e) {
      std::string wanted = "one of";
      for (const auto name : EnumText<E>::names) wanted.append(" ").append(name);
      return codec::wrong_json(j, wanted);
    }
    out = *e;
    return {};
  }
};

template <>
struct FieldCodec<SlotType> : FieldCodec<std::string> {
  static Value to_value(SlotType v) { return std::string(to_string(v)); }
  static Status from_value(SlotType& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("a slot type");
    const auto type_of = parse_slot_type(*s);
    if (!type_of) return std::unexpected(type_of.error());
    out = *type_of;
    return {};
  }
  static Json to_json(SlotType v, const SlotTypes&) { return to_string(v); }
  static Status from_json(SlotType& out, const Json& j, const SlotTypes&) {
    return from_value(out, Value(std::string(j.as_string())));
  }
};

template <>
struct FieldCodec<SlotMap> {
  static constexpr FieldType type = FieldType::Slots;
  static constexpr bool optional = false;
  static Value to_value(const SlotMap& v) { return codec::slots_to_text(v); }
  static Status from_value(SlotMap& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("a JSON object of amounts");
    auto slots = codec::slots_from_text(*s);
    if (!slots) return std::unexpected(slots.error());
    out = std::move(*slots);
    return {};
  }
  static Json to_json(const SlotMap& v, const SlotTypes& t) { return slots_to_json(t, v); }
  static Status from_json(SlotMap& out, const Json& j, const SlotTypes& t) {
    auto slots = parse_slots(t, j);
    if (!slots) return std::unexpected(slots.error());
    out = std::move(*slots);
    return {};
  }
};

template <>
struct FieldCodec<Json> {
  static constexpr FieldType type = FieldType::Json;
  static constexpr bool optional = false;
  static Value to_value(const Json& v) { return v.dump(); }
  static Status from_value(Json& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("JSON text");
    auto parsed = Json::parse(*s);
    if (!parsed) return std::unexpected(parsed.error());
    out = std::move(*parsed);
    return {};
  }
  static Json to_json(const Json& v, const SlotTypes&) { return v; }
  static Status from_json(Json& out, const Json& j, const SlotTypes&) {
    out = j;
    return {};
  }
};

template <class T>
  requires(std::is_same_v<T, std::string> || std::is_same_v<T, std::int64_t>)
struct FieldCodec<std::vector<T>> {
  static constexpr FieldType type = FieldType::List;
  static constexpr bool optional = false;
  static Json list(const std::vector<T>& v) {
    Json::Array items;
    for (const T& item : v) items.emplace_back(item);
    return items;
  }
  static Value to_value(const std::vector<T>& v) { return list(v).dump(); }
  static Status from_value(std::vector<T>& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("a JSON array");
    const auto parsed = Json::parse(*s);
    if (!parsed) return std::unexpected(parsed.error());
    return from_json(out, *parsed, {});
  }
  static Json to_json(const std::vector<T>& v, const SlotTypes&) { return list(v); }
  static Status from_json(std::vector<T>& out, const Json& j, const SlotTypes& slots) {
    if (!j.is_array()) return codec::wrong_json(j, "an array");
    std::vector<T> items;
    for (const Json& item : j.items()) {
      T value{};
      if (auto ok = FieldCodec<T>::from_json(value, item, slots); !ok) return ok;
      items.push_back(std::move(value));
    }
    out = std::move(items);
    return {};
  }
};

template <>
struct FieldCodec<StatusTimes> {
  static constexpr FieldType type = FieldType::Times;
  static constexpr bool optional = false;
  static Value to_value(const StatusTimes& v) { return codec::times_to_text(v); }
  static Status from_value(StatusTimes& out, const Value& v) {
    const auto* s = std::get_if<std::string>(&v);
    if (s == nullptr) return codec::wrong_value("a JSON object of times");
    auto times = codec::times_from_text(*s);
    if (!times) return std::unexpected(times.error());
    out = std::move(*times);
    return {};
  }
  static Json to_json(const StatusTimes& v, const SlotTypes&) {
    Json out = Json::object();
    for (const auto& [status, at] : v) out.set(status, codec::time_to_json(at));
    return out;
  }
  static Status from_json(StatusTimes& out, const Json& j, const SlotTypes&) {
    if (!j.is_object()) return codec::wrong_json(j, "an object of times");
    StatusTimes times;
    for (const auto& [status, at] : j.members()) {
      const auto time = codec::time_from_json(at);
      if (!time) return std::unexpected(time.error());
      times.emplace_back(status, *time);
    }
    out = std::move(times);
    return {};
  }
};

template <class T>
struct FieldCodec<std::optional<T>> {
  using Inner = FieldCodec<T>;
  static constexpr FieldType type = Inner::type;
  static constexpr bool optional = true;
  static Value to_value(const std::optional<T>& v) {
    return v ? Inner::to_value(*v) : Value(std::monostate{});
  }
  static Status from_value(std::optional<T>& out, const Value& v) {
    if (std::holds_alternative<std::monostate>(v)) {
      out.reset();
      return {};
    }
    return Inner::from_value(out.emplace(), v);
  }
  static Json to_json(const std::optional<T>& v, const SlotTypes& t) {
    return v ? Inner::to_json(*v, t) : Json();
  }
  static Status from_json(std::optional<T>& out, const Json& j, const SlotTypes& t) {
    if (j.is_null()) {
      out.reset();
      return {};
    }
    return Inner::from_json(out.emplace(), j, t);
  }
};

}  // namespace bai
