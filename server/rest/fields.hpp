// Lenient, typed reading of request bodies and queries: several spellings of a name, null means
// absent, unknown members are ignored unless the caller asks for them, and one error lists
// everything that is wrong.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/json.hpp"
#include "bai_manager/status.hpp"
#include "http/message.hpp"

namespace bai::server {

using Names = std::initializer_list<std::string_view>;  // the first one is the canonical one

// The body as a JSON object. Kind "body-malformed" when there is none, it is not JSON or not an
// object; an empty body is an empty object where `may_be_empty`.
Result<Json> parse_body(const http::Request& request, bool may_be_empty = false);

// Text that means yes or no, in any case: true, t, yes, y, on, 1 and their opposites.
std::optional<bool> parse_flag(std::string_view text) noexcept;

// Collects complaints while reading; ask status() at the end. `object` outlives it.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}

  // The value under the first of the names that is there and not null; null pointer otherwise.
  const Json* find(Names names);
  bool has(Names names) { return find(names) != nullptr; }

  std::optional<std::string> text(Names names);
  std::string text_or(Names names, std::string_view fallback);
  std::string required_text(Names names);  // also complains about an empty one
  std::optional<std::int64_t> integer(Names names,
                                      std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                                      std::int64_t max = std::numeric_limits<std::int64_t>::max());
  std::optional<double> number(Names names);
  bool flag_or(Names names, bool fallback);
  Json object_or_empty(Names names);
  std::vector<std::string> texts(Names names);
  std::vector<std::int64_t> integers(Names names);
  template <NamedEnum E>
  E choice_or(Names names, E fallback) {
    const auto value = text(names);
    if (!value) return fallback;
    const auto parsed = parse_enum<E>(*value);
    if (!parsed) complain_choice(*value, EnumText<E>::names);
    return parsed.value_or(fallback);
  }

  // About the field read last, or about a named one.
  void complain(std::string_view what) { complain(current_, what); }
  void complain(std::string_view field, std::string_view what);
  void complain_choice(std::string_view value, std::span<const std::string_view> names);
  // InvalidArgument with kind "body-invalid": "clusterSize: should be an integer, is a string; ..."
  Status status() const;
  const std::string& complaints() const noexcept { return complaints_; }
  // Members that nobody has asked for so far, by any spelling.
  std::vector<std::string> unread() const;
  // Complains about them: for routes that no client of the reference system uses.
  void refuse_unread();

 private:
  void wrong_type(std::string_view wanted, const Json& value);

  const Json& object_;
  std::string current_;                  // the spelling found, or the canonical one
  std::vector<std::string_view> names_;  // asked for
  std::string complaints_;
};

}  // namespace bai::server
