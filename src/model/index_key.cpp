#include "model/index_key.hpp"

#include <bit>

#include "base/assert.hpp"

namespace bai {

namespace {

// Each value starts with a tag that orders the types and is never 0xff.
constexpr char kNull = 1, kNumber = 2, kText = 3;

}  // namespace

void append_index_value(std::string& out, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    const std::uint64_t biased = static_cast<std::uint64_t>(*number) ^ (std::uint64_t{1} << 63);
    out += kNumber;
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>((biased >> shift) & 0xff);
    return;
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    out += kText;
    for (const char c : *text) {
      out += c;
      if (c == '\0') out += '\x01';  // so that the terminator below sorts before any continuation
    }
    out.append(2, '\0');
    return;
  }
  BAI_ASSERT(std::holds_alternative<std::monostate>(value), "only text and integers are indexed");
  out += kNull;
}

std::string index_key(const EntityInfo& entity, const IndexInfo& index, const void* row) {
  std::string out;
  for (const std::uint16_t field : index.fields) {
    const Value value = entity.fields[field].get(row);
    if (index.sparse && out.empty() && value == Value(std::string())) return {};
    append_index_value(out, value);
  }
  append_index_value(out, entity.fields[0].get(row));
  return out;
}

}  // namespace bai
