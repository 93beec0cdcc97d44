#include <mutex>

#include "bai_manager/storage.hpp"
#include "base/assert.hpp"

namespace bai {

namespace {

std::unexpected<Error> injected(ErrorCode code, const char* what) {
  return fail(code, what, "injected-fault");
}

class FaultyStorageImpl final : public FaultyStorage {
 public:
  explicit FaultyStorageImpl(std::shared_ptr<Storage> inner) : inner_(std::move(inner)) {
    BAI_ASSERT(inner_ != nullptr, "a faulty storage needs a storage to pass calls on to");
  }

  Status open(const Schema& schema) override { return inner_->open(schema); }

  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override {
    if (reads_fail()) return injected(ErrorCode::Unavailable, kReadRefused);
    return inner_->get(table, key);
  }
  Result<std::vector<Record>> scan(const Scan& scan) override {
    if (reads_fail()) return injected(ErrorCode::Unavailable, kReadRefused);
    return inner_->scan(scan);
  }
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override {
    if (reads_fail()) return injected(ErrorCode::Unavailable, kReadRefused);
    return inner_->count(table, conditions);
  }

  Status commit(const WriteBatch& batch) override {
    switch (next_fault()) {
      case Fault::None:
        return inner_->commit(batch);
      case Fault::Refuse:
        return injected(ErrorCode::Unavailable, "The commit was refused");
      case Fault::LoseAnswer: {
        // Whatever the answer was, nobody hears it.
        [[maybe_unused]] const Status lost = inner_->commit(batch);
        return injected(ErrorCode::InDoubt, "The answer to the commit was lost");
      }
      case Fault::LoseCommit:
        return injected(ErrorCode::InDoubt, "The commit was lost on its way");
    }
    return inner_->commit(batch);
  }

  void fail_next_commits(Fault fault, std::uint32_t count, std::uint32_t skip) override {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
    count_ = count;
    skip_ = skip;
  }
  void fail_reads(bool on) override {
    const std::lock_guard lock(mutex_);
    fail_reads_ = on;
  }
  std::uint64_t commits() const override {
    const std::lock_guard lock(mutex_);
    return commits_;
  }
  std::string_view backend_name() const noexcept override { return "faulty"; }

 private:
  static constexpr const char* kReadRefused = "The read was refused";

  bool reads_fail() const {
    const std::lock_guard lock(mutex_);
    return fail_reads_;
  }
  Fault next_fault() {
    const std::lock_guard lock(mutex_);
    ++commits_;
    if (skip_ > 0) {
      --skip_;
      return Fault::None;
    }
    if (count_ == 0) return Fault::None;
    --count_;
    return fault_;
  }

  const std::shared_ptr<Storage> inner_;
  mutable std::mutex mutex_;
  Fault fault_ = Fault::None;
  std::uint32_t count_ = 0;
  std::uint32_t skip_ = 0;
  std::uint64_t commits_ = 0;
  bool fail_reads_ = false;
};

}  // namespace

std::unique_ptr<FaultyStorage> make_faulty_storage(std::shared_ptr<Storage> inner) {
  return std::make_unique<FaultyStorageImpl>(std::move(inner));
}

}  // namespace bai
