#include "rest/rate_limit.hpp"

namespace bai::server {

void RateLimiter::Window::advance(std::int64_t to) noexcept {
  if (to <= step) return;  // the clock went back: count into the newest step
  if (to - step >= static_cast<std::int64_t>(kSteps)) {
    counts.fill(0);
    total = 0;
  } else {
    for (std::int64_t at = step + 1; at <= to; ++at) {
      auto& count = counts[static_cast<std::size_t>(at) % kSteps];
      total -= count;
      count = 0;
    }
  }
  step = to;
}

std::uint64_t RateLimiter::hit(std::string_view key, Timestamp now) {
  const std::int64_t step = now.ns / 1'000'000'000 / kStepSeconds;
  Shard& shard = shards_[Hash{}(key) % kShards];
  std::scoped_lock lock(shard.mutex);
  if (step - shard.swept_at >= static_cast<std::int64_t>(kSteps)) {
    std::erase_if(shard.windows, [&](const auto& entry) {
      return step - entry.second->step >= static_cast<std::int64_t>(kSteps);
    });
    shard.swept_at = step;
  }
  auto at = shard.windows.find(key);
  if (at == shard.windows.end()) {
    at = shard.windows.emplace(std::string(key), std::make_unique<Window>()).first;
    at->second->step = step;
  }
  Window& window = *at->second;
  window.advance(step);
  ++window.counts[static_cast<std::size_t>(window.step) % kSteps];
  return ++window.total;
}

std::size_t RateLimiter::tracked() const {
  std::size_t count = 0;
  for (const auto& shard : shards_) {
    std::scoped_lock lock(shard.mutex);
    count += shard.windows.size();
  }
  return count;
}

}  // namespace bai::server
