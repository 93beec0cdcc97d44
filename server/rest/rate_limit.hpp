// How many requests each key has made within the last fifteen minutes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bai_manager/time.hpp"

namespace bai::server {

// A rolling window in steps: a request counts for at least kWindowSeconds - kStepSeconds and at
// most kWindowSeconds. Thread-safe. Keys are those of authenticated callers, so there are no more
// than keypairs; one that has been silent for a window costs nothing after the next sweep.
class RateLimiter {
 public:
  static constexpr std::int64_t kWindowSeconds = 900;
  static constexpr std::int64_t kStepSeconds = 5;

  // Counts one request and returns the count within the window, this one included.
  std::uint64_t hit(std::string_view key, Timestamp now);
  std::size_t tracked() const;

 private:
  static constexpr std::size_t kSteps = kWindowSeconds / kStepSeconds;
  static constexpr std::size_t kShards = 16;
  struct Window {
    std::array<std::uint32_t, kSteps> counts{};
    std::int64_t step = 0;  // of the newest count
    std::uint64_t total = 0;
    void advance(std::int64_t to) noexcept;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::unique_ptr<Window>, Hash, std::equal_to<>> windows;
    std::int64_t swept_at = 0;
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace bai::server
