// Sessions that wait, as the mirror keeps them: by the million, so every byte counts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"

namespace bai::sched {

inline constexpr std::uint32_t kNone = 0xffff'ffff;

struct PendingKernel {
  KernelId id;
  std::int32_t local_rank = 0;
  std::uint32_t requirement = kNone;  // Mirror::kernel_requirement
};

// The kernels of one session. Nearly all have one, which needs no memory of its own.
class PendingKernels {
 public:
  std::size_t size() const noexcept { return all().size(); }
  bool empty() const noexcept { return size() == 0; }
  const PendingKernel& operator[](std::size_t at) const noexcept { return all()[at]; }
  const PendingKernel* begin() const noexcept { return all().data(); }
  const PendingKernel* end() const noexcept { return begin() + size(); }

  void add(const PendingKernel& kernel) {
    if (empty()) {
      one_ = kernel;
      return;
    }
    if (!many_) many_ = std::make_unique<std::vector<PendingKernel>>(1, one_);
    many_->push_back(kernel);
  }
  // Calls `erased(kernel)` if it is there.
  template <class Erased>
  void erase(const KernelId& id, Erased&& erased) {
    const auto at = std::find_if(begin(), end(), [&](const auto& k) { return k.id == id; });
    if (at == end()) return;
    erased(*at);
    if (!many_) {
      one_ = {};
      return;
    }
    many_->erase(many_->begin() + (at - begin()));
    if (many_->size() > 1) return;
    one_ = many_->front();
    many_.reset();
  }
  // By local rank, then by id.
  void settle() {
    if (!many_) return;
    std::ranges::sort(*many_, {},
                      [](const PendingKernel& k) { return std::pair(k.local_rank, k.id); });
    many_->shrink_to_fit();
  }

 private:
  std::span<const PendingKernel> all() const noexcept {
    if (many_) return *many_;
    return {&one_, one_.requirement == kNone ? std::size_t{0} : std::size_t{1}};
  }

  PendingKernel one_;                                 // unless there are several
  std::unique_ptr<std::vector<PendingKernel>> many_;  // two or more, or null
};

// A session that is PENDING, or of which a kernel is.
struct Waiting {
  PendingSession session;
  std::uint32_t group = kNone;
  std::uint32_t generation = 0;  // tells successive users of one place apart
  std::uint32_t labels = 0;      // Mirror::label_rule
  std::uint32_t topology = 0;    // Mirror::topology_name; 0: none is demanded
  bool has_row = false;          // its session row is PENDING
  bool queued = false;
  bool dirty = false;
  bool declared = false;  // its estimate is a limit of its own
  ClusterMode mode = ClusterMode::SingleNode;
  PendingKernels kernels;
  std::unique_ptr<PendingDetails> details;
};

// How long it runs at most, by itself.
inline Duration declared_by(const Waiting& waiting) noexcept {
  return waiting.declared ? waiting.session.estimate : kUnknownEstimate;
}

// Grows at the end without moving what is there, and without gaps between it.
template <class T>
class Chunked {
 public:
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t at) noexcept { return chunks_[at / kChunk][at % kChunk]; }
  const T& operator[](std::size_t at) const noexcept { return chunks_[at / kChunk][at % kChunk]; }
  void emplace_back() {
    if (size_ % kChunk == 0) chunks_.push_back(std::make_unique<T[]>(kChunk));
    ++size_;
  }

 private:
  static constexpr std::size_t kChunk = 256;
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::size_t size_ = 0;
};

using WaitingSessions = Chunked<Waiting>;

}  // namespace bai::sched
