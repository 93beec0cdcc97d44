#include "sim/cluster.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "core/accounting.hpp"
#include "numbered.hpp"

namespace bai::sim {

namespace {

const ResourceGroupName kGroup{"sim"};
constexpr const char* kArchitecture = "x86_64";

template <class Id>
std::uint64_t number_of(const Id& id) {
  std::uint64_t number = 0;
  for (std::size_t i = 8; i < 16; ++i) number = number << 8 | id.bytes[i];
  return number;
}
SessionId session_id(std::uint32_t number) { return numbered<SessionId>(number + 1ULL); }
constexpr std::uint64_t kKernelsPerSession = 1 << 20;
KernelId kernel_id(std::uint32_t number, std::int64_t rank) {
  return numbered<KernelId>((number + 1ULL) * kKernelsPerSession +
                            static_cast<std::uint64_t>(rank));
}

AgentId agent_id(std::uint32_t number) { return AgentId(fmt::format("a{:08}", number)); }
std::uint32_t agent_number(const AgentId& id) {
  std::uint32_t number = 0;
  const std::string_view digits = id.view().substr(1);
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

PlanLimits no_limits() {
  PlanLimits limits;
  limits.sessions_max = std::numeric_limits<std::uint32_t>::max();
  limits.steps_max = std::numeric_limits<std::uint64_t>::max();
  limits.positions_max = 0;
  limits.explain = false;
  return limits;
}

Json model_wish(std::string_view models) {
  Json allowed = Json::array();
  for (;;) {
    const auto bar = models.find('|');
    allowed.push_back(models.substr(0, bar));
    if (bar == models.npos) break;
    models.remove_prefix(bar + 1);
  }
  return Json::object({{"agent_labels", Json::object({{kModelLabel, std::move(allowed)}})}});
}

}  // namespace

Cluster::Cluster(std::shared_ptr<const PolicyRegistry> policies)
    : planner_(std::move(policies), no_limits()) {}

Result<std::unique_ptr<Cluster>> Cluster::create(const ResourceGroup& settings) {
  auto registry = std::make_shared<PolicyRegistry>();
  if (auto added = add_builtin_policies(*registry); !added) return std::unexpected(added.error());
  if (auto fine = registry->check(settings); !fine) return std::unexpected(fine.error());
  std::unique_ptr<Cluster> cluster(new Cluster(std::move(registry)));
  ResourceGroup group = settings;
  group.name = kGroup;
  cluster->changes_.insert(std::move(group));
  return cluster;
}

std::uint32_t Cluster::add_agent(const Capacity& capacity) {
  Agent agent;
  agent.id = agent_id(agents_);
  agent.resource_group = kGroup;
  agent.architecture = kArchitecture;
  agent.available_slots = capacity.slots;
  if (!capacity.model.empty()) agent.labels.set(kModelLabel, capacity.model);
  if (!capacity.devices.empty()) {
    Json devices = Json::array();
    for (const std::int64_t units : capacity.devices) {
      devices.push_back(format_amount(SlotType::Count, Amount{units}));
    }
    agent.devices.set(kShareSlot, std::move(devices));
  }
  changes_.insert(std::move(agent));
  return agents_++;
}

void Cluster::submit(const Work& work) {
  Session session;
  session.id = session_id(work.number);
  session.name = fmt::format("s{}", work.number);
  session.type = SessionType::Batch;
  session.cluster_mode = work.kernels > 1 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
  session.cluster_size = work.kernels;
  session.resource_group = kGroup;
  session.domain = DomainName("sim");
  session.project = numbered<ProjectId>(1);
  session.user = numbered<UserId>(work.owner + 1ULL);
  session.access_key = AccessKey(fmt::format("K{}", work.owner));
  session.architecture = kArchitecture;
  session.created_at = at_second(work.submit);
  if (work.estimate) session.batch_timeout = seconds(*work.estimate);
  if (!work.model.empty()) session.resource_opts = model_wish(work.model);
  for (std::int64_t i = 0; i < work.kernels; ++i) session.requested_slots += work.slots;
  core::insert_session(changes_, std::move(session));
  for (std::int64_t rank = 0; rank < work.kernels; ++rank) {
    Kernel kernel;
    kernel.id = kernel_id(work.number, rank);
    kernel.session = session_id(work.number);
    kernel.local_rank = rank;
    kernel.cluster_idx = rank + 1;
    kernel.architecture = kArchitecture;
    kernel.requested_slots = work.slots;
    kernel.created_at = at_second(work.submit);
    core::insert_kernel(changes_, std::move(kernel));
  }
}

void Cluster::remove(std::uint32_t number, SessionStatus last) {
  const SessionId id = session_id(number);
  const Session* session = state_.find<Session>(id);
  BAI_ASSERT(session != nullptr, "a session that ends exists");
  const std::int64_t kernels = session->cluster_size;
  for (std::int64_t rank = 0; rank < kernels; ++rank) {
    core::erase_kernel(changes_, kernel_id(number, rank));
  }
  core::update_session(changes_, id, [&](Session& s) { s.status = last; });
  changes_.erase<Session>(id);
}

void Cluster::finish(std::uint32_t number) { remove(number, SessionStatus::Terminated); }
void Cluster::withdraw(std::uint32_t number) { remove(number, SessionStatus::Cancelled); }

void Cluster::feed() {
  auto changes = coalesce(changes_.take());
  std::erase_if(changes, [](const Change& change) { return change.is_volatile; });
  planner_.feed({++version_}, changes);
}

Result<std::vector<Start>> Cluster::pass(std::int64_t now, std::uint64_t seed) {
  feed();
  const Plan plan = planner_.plan(at_second(now), seed);
  if (!plan.errors.empty()) return fail(ErrorCode::Internal, plan.errors.front());
  std::vector<Start> starts;
  starts.reserve(plan.placements.size());
  for (const Placement& placement : plan.placements) {
    auto started = start(placement, now);
    if (!started) return std::unexpected(started.error());
    starts.push_back(std::move(*started));
  }
  return starts;
}

namespace {

// What a kernel got of each device, as its row says it.
Json devices_json(const Placement& placement, const KernelId& kernel) {
  Json devices = Json::object();
  for (const PlacedDevice& d : placement.devices) {
    if (d.kernel != kernel) continue;
    const Json* slot = devices.find(d.slot);
    Json amounts = slot != nullptr ? *slot : Json::object();
    amounts.set(fmt::format("{}", d.device), format_amount(SlotType::Count, d.amount));
    devices.set(d.slot, std::move(amounts));
  }
  return devices;
}

}  // namespace

Result<Start> Cluster::start(const Placement& placement, std::int64_t now) {
  Start start;
  start.number = static_cast<std::uint32_t>(number_of(placement.session) - 1);
  for (const auto& [kernel, agent_id] : placement.kernels) {
    core::update_kernel(changes_, kernel, [&](Kernel& k) {
      k.status = KernelStatus::Running;
      k.agent = agent_id;
      k.occupied_slots = k.requested_slots;
      if (!placement.devices.empty()) k.devices = devices_json(placement, kernel);
      k.create_sent = true;
      k.starts_at = at_second(now);
    });
    const Agent& agent = *state_.find<Agent>(agent_id);
    if (!agent.occupied_slots.fits_in(agent.available_slots)) {
      return fail(ErrorCode::Internal,
                  fmt::format("session {}: the plan grants more than agent {} has free.",
                              start.number, agent_id.view()));
    }
    Grant& grant = start.kernels.emplace_back();
    grant.agent = agent_number(agent_id);
    for (const PlacedDevice& d : placement.devices) {
      if (d.kernel == kernel && d.slot == kShareSlot) {
        grant.devices.emplace_back(d.device, d.amount.units);
      }
    }
  }
  core::update_session(changes_, placement.session, [&](Session& s) {
    s.status = SessionStatus::Running;
    s.starts_at = at_second(now);
  });
  return start;
}

std::string Cluster::check() const { return core::check_invariants(state_); }

}  // namespace bai::sim
