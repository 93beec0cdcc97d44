// Planted bugs.
#include <algorithm>
#include <utility>

#include "forwarding_storage.hpp"
#include "repo/repo.hpp"
#include "repo/rows.hpp"
#include "sim/simulation.hpp"

namespace bai::sim {
namespace {

constexpr int kDestroysPerLoss = 3;

class FaultyGateway final : public AgentGateway {
 public:
  FaultyGateway(Bug bug, std::shared_ptr<AgentGateway> inner)
      : bug_(bug), inner_(std::move(inner)) {}

  void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
               AgentReplyHandler reply) override {
    if (bug_ == Bug::TwiceTriggered && std::holds_alternative<TriggerBatch>(request)) {
      inner_->request(agent, request, timeout, [](Result<AgentReply>) {});
    }
    if (bug_ == Bug::LostDestroy && std::holds_alternative<DestroyKernel>(request) &&
        ++destroys_ % kDestroysPerLoss == 0) {
      return reply(AgentReply{});
    }
    inner_->request(agent, std::move(request), timeout, std::move(reply));
  }
  void forget(const AgentId& agent) override { inner_->forget(agent); }

 private:
  Bug bug_;
  std::shared_ptr<AgentGateway> inner_;
  int destroys_ = 0;
};

// Holds the last commit back until the next one or until somebody reads.
class LateStorage final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;

  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override {
    flush();
    return ForwardingStorage::get(table, key);
  }
  Result<std::vector<Record>> scan(const Scan& scan) override {
    flush();
    return ForwardingStorage::scan(scan);
  }
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override {
    flush();
    return ForwardingStorage::count(table, conditions);
  }
  Status commit(const WriteBatch& batch) override {
    flush();
    held_ = batch;
    return {};
  }

  void drop() { held_.reset(); }

 private:
  void flush() {
    if (auto batch = std::exchange(held_, std::nullopt)) (void)inner().commit(*batch);
  }

  std::optional<WriteBatch> held_;
};

// Acknowledges what it does not keep as it was given.
class LossyStorage final : public test::ForwardingStorage {
 public:
  LossyStorage(Bug bug, std::shared_ptr<Storage> inner)
      : ForwardingStorage(std::move(inner)), bug_(bug) {}

  Status commit(const WriteBatch& batch) override {
    WriteBatch kept = batch;
    const bool is_spoilt = bug_ == Bug::ForgottenField ? forget_field(kept) : lose_write(kept);
    Status status = inner().commit(kept);
    spoilt_ += status && is_spoilt;
    return status;
  }

  std::uint64_t spoilt() const { return spoilt_; }

 private:
  // Nobody asks for it again until a manager starts.
  static bool forget_field(WriteBatch& batch) {
    static const EntityInfo& info = entity_info<Session>();
    static const std::uint16_t column = repo::column_of(info, "starts_at");
    bool has_forgotten = false;
    for (Write& write : batch.writes) {
      auto* put = std::get_if<Put>(&write);
      if (!put || put->table != repo::table_of(info.kind)) continue;
      Value& value = put->row[column];
      has_forgotten |= std::exchange(value, Value(std::int64_t{0})) != Value(std::int64_t{0});
    }
    return has_forgotten;
  }
  // An agent's row that was there keeps its old contents.
  bool lose_write(WriteBatch& batch) {
    const auto lost = std::ranges::find_if(batch.writes, [&](const Write& write) {
      const auto* put = std::get_if<Put>(&write);
      if (!put || put->table != repo::table_of(EntityKind::Agent)) return false;
      const auto present = inner().get(put->table, put->row.front());
      return present && *present && (*present)->row != put->row;
    });
    if (lost == batch.writes.end()) return false;
    batch.writes.erase(lost);
    return true;
  }

  Bug bug_;
  std::uint64_t spoilt_ = 0;
};

}  // namespace

std::shared_ptr<AgentGateway> plant_in_gateway(Bug bug, std::shared_ptr<AgentGateway> inner) {
  if (bug != Bug::TwiceTriggered && bug != Bug::LostDestroy) return inner;
  return std::make_shared<FaultyGateway>(bug, std::move(inner));
}

PlantedStorage plant_in_storage(Bug bug, std::shared_ptr<Storage> inner) {
  PlantedStorage planted{std::move(inner)};
  if (bug == Bug::LateCommit) {
    auto late = std::make_shared<LateStorage>(planted.storage);
    planted.crash = [late] { late->drop(); };
    planted.storage = std::move(late);
  } else if (bug == Bug::ForgottenField || bug == Bug::LostWrite) {
    auto lossy = std::make_shared<LossyStorage>(bug, planted.storage);
    planted.spoilt = [lossy] { return lossy->spoilt(); };
    planted.storage = std::move(lossy);
  }
  return planted;
}

}  // namespace bai::sim
