// Planted bugs.
#include <utility>

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
class LateStorage final : public Storage {
 public:
  explicit LateStorage(std::shared_ptr<Storage> inner) : inner_(std::move(inner)) {}

  Status open(const Schema& schema) override { return inner_->open(schema); }
  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override {
    flush();
    return inner_->get(table, key);
  }
  Result<std::vector<Record>> scan(const Scan& scan) override {
    flush();
    return inner_->scan(scan);
  }
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override {
    flush();
    return inner_->count(table, conditions);
  }
  Status commit(const WriteBatch& batch) override {
    flush();
    held_ = batch;
    return {};
  }
  std::string_view backend_name() const noexcept override { return "late"; }

  void drop() { held_.reset(); }

 private:
  void flush() {
    if (auto batch = std::exchange(held_, std::nullopt)) (void)inner_->commit(*batch);
  }

  std::shared_ptr<Storage> inner_;
  std::optional<WriteBatch> held_;
};

}  // namespace

std::shared_ptr<AgentGateway> plant_in_gateway(Bug bug, std::shared_ptr<AgentGateway> inner) {
  if (bug != Bug::TwiceTriggered && bug != Bug::LostDestroy) return inner;
  return std::make_shared<FaultyGateway>(bug, std::move(inner));
}

std::shared_ptr<Storage> plant_in_storage(Bug bug, std::shared_ptr<Storage> inner,
                                          std::function<void()>& drop) {
  if (bug != Bug::LateCommit) return inner;
  auto late = std::make_shared<LateStorage>(std::move(inner));
  drop = [late] { late->drop(); };
  return late;
}

}  // namespace bai::sim
