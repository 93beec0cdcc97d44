// Small numbers for repeated values.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/assert.hpp"

namespace bai::sched {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept {
    return std::hash<std::string_view>{}(text);
  }
};

// Names never forget: for sets that stay small (slots, architectures, users).
class Names {
 public:
  std::uint32_t intern(std::string_view name) {
    if (const auto it = index_.find(name); it != index_.end()) return it->second;
    const auto at = static_cast<std::uint32_t>(names_.size());
    names_.emplace_back(name);
    index_.emplace(std::string(name), at);
    return at;
  }
  std::optional<std::uint32_t> find(std::string_view name) const {
    const auto it = index_.find(name);
    if (it == index_.end()) return std::nullopt;
    return it->second;
  }
  const std::string& operator[](std::uint32_t at) const { return names_[at]; }
  std::size_t size() const noexcept { return names_.size(); }

 private:
  std::deque<std::string> names_;
  std::unordered_map<std::string, std::uint32_t, TextHash, std::equal_to<>> index_;
};

// Values shared by reference count: for what clients can invent without end. Numbers are reused;
// `generation` tells two users of one number apart.
template <class T>
class Shared {
 public:
  // `key` is equal exactly when the values are.
  std::uint32_t acquire(const std::string& key, T value) {
    auto [it, is_new] = index_.try_emplace(key, 0);
    if (!is_new) {
      ++entries_[it->second].references;
      return it->second;
    }
    if (free_.empty()) {
      it->second = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back();
    } else {
      it->second = free_.back();
      free_.pop_back();
    }
    Entry& entry = entries_[it->second];
    entry.value = std::move(value);
    entry.key = &it->first;
    entry.references = 1;
    ++entry.generation;
    return it->second;
  }
  void release(std::uint32_t at) {
    Entry& entry = entries_[at];
    BAI_ASSERT(entry.references > 0, "what is released was acquired");
    if (--entry.references > 0) return;
    entry.value = T{};
    index_.erase(index_.find(*entry.key));
    entry.key = nullptr;
    free_.push_back(at);
  }
  const T& operator[](std::uint32_t at) const { return entries_[at].value; }
  T& writable(std::uint32_t at) { return entries_[at].value; }  // what the key does not cover
  const std::string& key(std::uint32_t at) const { return *entries_[at].key; }
  std::uint32_t generation(std::uint32_t at) const { return entries_[at].generation; }
  std::size_t live() const noexcept { return index_.size(); }

 private:
  struct Entry {
    T value;
    const std::string* key = nullptr;  // in the map; stays there when others come and go
    std::uint32_t references = 0, generation = 0;
  };
  std::deque<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::unordered_map<std::string, std::uint32_t> index_;
};

}  // namespace bai::sched
