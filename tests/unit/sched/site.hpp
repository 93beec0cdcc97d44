// A resource group that preempts.
#pragma once

#include <functional>

#include "world.hpp"

namespace bai::test {

struct Site {
  World w;

  explicit Site(const std::string& rules = R"({"order": "oldest"})", PlanLimits limits = {})
      : w(builtin_policies(), limits) {
    Json preemption = *Json::parse(rules);
    preemption.set("enabled", true);
    w.group().policy_options = Json::object({{"preemption", std::move(preemption)}});
  }

  struct Run {
    std::string agent;
    Texts amounts;
  };
  SessionId running(std::int64_t since, const std::vector<Run>& kernels,
                    const std::function<void(Session&)>& edit = {}) {
    Session session = w.draft();
    session.status = SessionStatus::Running;
    session.starts_at = at_second(since);
    if (edit) edit(session);
    for (const auto& [agent, amounts] : kernels) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_kernel_);
      kernel.session = session.id;
      kernel.agent = AgentId(agent);
      kernel.status = KernelStatus::Running;
      kernel.occupied_slots = slots(amounts);
      w.changes.insert(kernel);
    }
    const SessionId id = session.id;
    w.changes.insert(std::move(session));
    return id;
  }
  SessionId running(std::int64_t since, const std::string& agent, const std::string& cpu,
                    const std::function<void(Session&)>& edit = {}) {
    return running(since, {{agent, {{"cpu", cpu}}}}, edit);
  }
  SessionId wants(const std::vector<std::string>& cpus, std::int64_t job_priority = 5,
                  const std::function<void(Session&)>& edit = {}) {
    Session session = w.draft();
    session.job_priority = job_priority;
    session.cluster_mode = cpus.size() > 1 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
    if (edit) edit(session);
    std::vector<KernelSpec> kernels;
    for (const std::string& cpu : cpus) kernels.push_back({{{"cpu", cpu}}});
    return w.add(std::move(session), kernels);
  }

 private:
  std::uint64_t last_kernel_ = 1'000'000;
};

using Victims = std::vector<SessionId>;

// Of a plan that places this session and nothing else.
inline Victims victims(const Plan& plan, const SessionId& session) {
  REQUIRE(plan.placements.size() == 1);
  CHECK(plan.placements[0].session == session);
  return plan.placements[0].victims;
}

}  // namespace bai::test
