// An allocator for large arrays that are read all over: the system is asked for large pages, so
// that few addresses have to be translated.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace bai::base {

template <class T>
class LargePages {
 public:
  using value_type = T;
  LargePages() = default;
  template <class U>
  LargePages(const LargePages<U>&) noexcept {}

  T* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes < kLargeFrom) return static_cast<T*>(::operator new(bytes, kLine));
    const std::size_t whole = (bytes + kPage - 1) / kPage * kPage;
    void* memory = std::aligned_alloc(kPage, whole);
    if (memory == nullptr) throw std::bad_alloc();
    // Refused where there are none; then it is as slow as without.
    static_cast<void>(::madvise(memory, whole, MADV_HUGEPAGE));
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    if (count * sizeof(T) < kLargeFrom) return ::operator delete(memory, kLine);
    std::free(memory);
  }
  friend bool operator==(const LargePages&, const LargePages&) noexcept { return true; }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
  static constexpr std::size_t kLargeFrom = std::size_t{1} << 20;  // bytes
  static constexpr auto kLine = std::align_val_t{64};              // a cache line
};

}  // namespace bai::base
