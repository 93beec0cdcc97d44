// Index entries as byte strings whose order is the order of the values.
#pragma once

#include <string>
#include <string_view>

#include "bai_manager/schema.hpp"

namespace bai {

void append_index_value(std::string& out, const Value& value);

// The indexed fields of `row`, then its key; empty when a sparse index leaves it out.
std::string index_key(const EntityInfo& entity, const IndexInfo& index, const void* row);

// Encodes leading index fields: `IndexPrefix{}.add("name").add(status)`.
class IndexPrefix {
 public:
  IndexPrefix& add(std::string_view text) {
    append_index_value(bytes_, Value(std::string(text)));
    return *this;
  }
  IndexPrefix& add(std::int64_t number) {
    append_index_value(bytes_, Value(number));
    return *this;
  }
  const std::string& str() const noexcept { return bytes_; }

 private:
  std::string bytes_;
};

// Behind every entry that starts with `prefix`.
inline std::string index_prefix_end(const std::string& prefix) { return prefix + '\xff'; }

}  // namespace bai
