// Passes every call on: for storages that do one thing differently.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/storage.hpp"

namespace bai::test {

class ForwardingStorage : public Storage {
 public:
  explicit ForwardingStorage(std::shared_ptr<Storage> inner) : inner_(std::move(inner)) {}

  Status open(const Schema& schema) override { return inner_->open(schema); }
  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override {
    return inner_->get(table, key);
  }
  Result<std::vector<Record>> scan(const Scan& scan) override { return inner_->scan(scan); }
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override {
    return inner_->count(table, conditions);
  }
  Status commit(const WriteBatch& batch) override { return inner_->commit(batch); }
  std::string_view backend_name() const noexcept override { return inner_->backend_name(); }

 protected:
  Storage& inner() const noexcept { return *inner_; }

 private:
  std::shared_ptr<Storage> inner_;
};

}  // namespace bai::test
