#include "service/session_request.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "core/accounting.hpp"
#include "service/reservations.hpp"

namespace bai::service {

namespace {

// Null, or for every name a text or a list of texts.
bool is_label_rule(const Json& rule) {
  if (rule.is_null()) return true;
  return rule.is_object() && std::ranges::all_of(rule.members(), [](const auto& member) {
           const Json& wanted = member.second;
           const auto is_text = [](const Json& one) { return one.is_string(); };
           return wanted.is_string() || (wanted.is_array() && wanted.size() > 0 &&
                                         std::ranges::all_of(wanted.items(), is_text));
         });
}

using core::Context;

constexpr std::int64_t kDefaultShmem = 64LL << 20;
constexpr std::int64_t kDefaultMinMem = 1LL << 30;
constexpr std::int64_t kDefaultMinCpu = 1000;
constexpr Duration kBatchTimeoutMax = seconds(10LL * 365 * 24 * 3600);
constexpr std::size_t kAgentIdMax = 255;
constexpr std::string_view kShmemLabel = "ai.backend.resource.preferred.shmem";

std::unexpected<Error> invalid(std::string message, std::string kind = "invalid-api-parameters") {
  return fail(ErrorCode::InvalidArgument, std::move(message), std::move(kind));
}
std::unexpected<Error> over_quota(std::string message) {
  return fail(ErrorCode::QuotaExceeded, std::move(message), "quota-exceeded");
}

bool is_word(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// ---- where
// ----------------------------------------------------------------------------------------

std::vector<const ResourceGroup*> accessible_groups(const State& state, const Project& project,
                                                    const AccessKey& key) {
  std::set<ResourceGroupName> names;
  const auto add = [&](ScopeKind kind, std::string_view scope) {
    state.table<ResourceGroupGrant>().for_each_in(
        index::kGrantByScope, IndexPrefix{}.add(to_string(kind)).add(scope).str(),
        [&](const ResourceGroupGrant& grant) {
          names.insert(grant.resource_group);
          return true;
        });
  };
  add(ScopeKind::Domain, project.domain.view());
  add(ScopeKind::Project, to_string(project.id));
  add(ScopeKind::Keypair, key.view());
  std::vector<const ResourceGroup*> groups;
  for (const auto& name : names) {
    const auto* group = state.find<ResourceGroup>(name);
    if (group != nullptr && group->is_active) groups.push_back(group);
  }
  return groups;
}

Result<const ResourceGroup*> choose_group(const State& state, const Project& project,
                                          const AccessKey& key, const CreateSession& request) {
  const auto groups = accessible_groups(state, project, key);
  if (groups.empty()) {
    return invalid(
        fmt::format("No resource group is open to domain \"{}\", project \"{}\" or this "
                    "keypair",
                    project.domain.view(), project.name));
  }
  const auto allows = [&](const ResourceGroup& group) {
    const auto& types = group.allowed_session_types;
    return request.type == SessionType::System ||
           std::find(types.begin(), types.end(), to_string(request.type)) != types.end();
  };
  std::string names;
  for (const auto* group : groups) {
    names += (names.empty() ? "" : ", ") + group->name.str();
    if (request.resource_group ? group->name == *request.resource_group : allows(*group)) {
      if (allows(*group)) return group;
      return invalid(fmt::format("Resource group \"{}\" does not take {} sessions",
                                 group->name.view(), to_string(request.type)));
    }
  }
  if (!request.resource_group) {
    return invalid(fmt::format("None of the resource groups {} takes {} sessions", names,
                               to_string(request.type)));
  }
  return invalid(
      fmt::format("Resource group \"{}\" does not exist or is not open to you; there are: {}",
                  request.resource_group->view(), names));
}

// Slots that some agent of the group offers.
std::set<std::string> served_slots(const State& state, const ResourceGroupName& group) {
  std::set<std::string> served;
  state.table<Agent>().for_each_in(
      index::kAgentByGroup, IndexPrefix{}.add(group.view()).str(), [&](const Agent& agent) {
        if (agent.status == AgentStatus::Terminated || !agent.schedulable) return true;
        for (const auto& [name, amount] : agent.available_slots) {
          if (amount.units > 0) served.insert(name);
        }
        return true;
      });
  return served;
}

// ---- how much
// -------------------------------------------------------------------------------------

Result<std::int64_t> shared_memory(const CreateSession& request, const Image& image) {
  const Json* wanted = request.resource_opts.find("shmem");
  if (wanted == nullptr || wanted->is_null()) wanted = image.labels.find(kShmemLabel);
  if (wanted == nullptr || wanted->is_null()) return kDefaultShmem;
  const std::string text = wanted->is_string() ? std::string(wanted->as_string()) : wanted->dump();
  const auto size = parse_binary_size(text);
  if (!size) return invalid(fmt::format("resource_opts.shmem: {}", size.error().message));
  return *size;
}

Result<SlotMap> complete_slots(const State& state, const CreateSession& request, const Image& image,
                               const ResourceGroup& group, const std::set<std::string>& served,
                               SlotMap slots) {
  const auto shmem = shared_memory(request, image);
  if (!shmem) return std::unexpected(shmem.error());
  SlotMap minimum = image.min_slots;
  if (!minimum.contains("cpu")) minimum.set("cpu", Amount{kDefaultMinCpu});
  if (!minimum.contains("mem")) minimum.set("mem", Amount{kDefaultMinMem});
  minimum.set("mem", minimum.get("mem") + Amount{*shmem});

  for (const std::string_view name : {"cpu", "mem"}) {
    if (slots.get(name).units == 0) slots.set(name, minimum.get(name));
  }
  if (slots.get("mem").units <= *shmem) {
    return invalid(
        fmt::format("Shared memory ({}) must be smaller than the memory of the session ({})",
                    format_binary_size(*shmem), format_binary_size(slots.get("mem").units)));
  }
  if (served.empty()) {
    return invalid(fmt::format("Resource group \"{}\" has no agent that could run a session",
                               group.name.view()));
  }
  const auto text = [&](std::string_view name, Amount amount) {
    return format_amount_humanized(state.slot_types().type_of(name), amount);
  };
  for (const auto& [name, amount] : slots) {
    if (amount.units < 0)
      return invalid(fmt::format("Slot \"{}\": an amount cannot be negative", name));
    if (amount.is_infinite())
      return invalid(fmt::format("Slot \"{}\": ask for a finite amount", name));
    if (amount.units > 0 && !served.contains(name)) {
      return invalid(fmt::format("No agent of resource group \"{}\" offers slot \"{}\"",
                                 group.name.view(), name));
    }
  }
  for (const auto& [name, least] : minimum) {
    if (least.units == 0) continue;
    if (!served.contains(name)) {
      return invalid(
          fmt::format("Image {} needs slot \"{}\", which no agent of resource group \"{}\" "
                      "offers",
                      image.canonical, name, group.name.view()));
    }
    if (slots.get(name) < least) {
      return invalid(fmt::format("Slot \"{}\": {} is less than what image {} needs ({})", name,
                                 text(name, slots.get(name)), image.canonical, text(name, least)));
    }
  }
  // A slot that the group serves and the session does without is asked for as 0: so selectors can
  // leave the agents that have it to those who need it.
  slots.prune_zeros();
  for (const std::string& name : served) slots.set(name, slots.get(name));
  return slots;
}

// What each kernel gets, by rank.
Result<std::vector<SlotMap>> kernel_slots(const State& state, const CreateSession& request,
                                          const Image& image, const ResourceGroup& group) {
  const auto served = served_slots(state, group.name);
  const bool alike = request.kernel_slots.empty();
  std::vector<SlotMap> all;
  for (const SlotMap& wanted : alike ? std::vector{request.slots} : request.kernel_slots) {
    auto slots = complete_slots(state, request, image, group, served, wanted);
    if (!slots) return std::unexpected(slots.error());
    all.push_back(std::move(*slots));
  }
  if (alike) all.resize(static_cast<std::size_t>(request.cluster_size), SlotMap(all.front()));
  return all;
}

// Sums must stay exact, whatever is asked for.
Status check_sums(const State& state, const Session& session) {
  const auto text = [&](std::string_view name, Amount amount) {
    return format_amount_humanized(state.slot_types().type_of(name), amount);
  };
  const auto pending_of = [&](ScopeKind kind, std::string_view scope) {
    return state.usage(kind, scope).pending_slots;
  };
  const std::array pending = {pending_of(ScopeKind::User, to_string(session.user)),
                              pending_of(ScopeKind::Project, to_string(session.project)),
                              pending_of(ScopeKind::Domain, session.domain.view()),
                              pending_of(ScopeKind::Keypair, session.access_key.view())};
  for (const auto& [name, amount] : session.requested_slots) {
    if (amount > core::kReportedMax) {
      return invalid(fmt::format("Slot \"{}\": a session can ask for {} at most", name,
                                 text(name, core::kReportedMax)));
    }
    for (const SlotMap& sums : pending) {
      if (sums.get(name) + amount <= core::kPendingMax) continue;
      return over_quota(fmt::format("Pending sessions cannot ask for more than {} of {} together",
                                    text(name, core::kPendingMax), name));
    }
  }
  return {};
}

Status check_policy(const State& state, const CreateSession& request, const KeypairPolicy& policy,
                    const Keypair& owner, const SlotMap& total) {
  const Usage& usage = state.usage(ScopeKind::Keypair, owner.access_key.view());
  if (policy.max_pending_session_count && *policy.max_pending_session_count > 0 &&
      usage.pending_sessions + 1 > *policy.max_pending_session_count) {
    return over_quota(fmt::format("You cannot have more than {} pending sessions",
                                  *policy.max_pending_session_count));
  }
  if (policy.max_pending_session_resource_slots) {
    for (const auto& [name, cap] : *policy.max_pending_session_resource_slots) {
      if (usage.pending_slots.get(name) + total.get(name) <= cap) continue;
      return over_quota(
          fmt::format("Your pending sessions cannot ask for more than {} of {} together",
                      format_amount_humanized(state.slot_types().type_of(name), cap), name));
    }
  }
  if (policy.max_containers_per_session > 0 &&
      request.cluster_size > policy.max_containers_per_session) {
    return over_quota(fmt::format("You cannot create a session of more than {} containers",
                                  policy.max_containers_per_session));
  }
  if (request.priority > policy.max_priority) {
    return over_quota(fmt::format("Your priority can be at most {}", policy.max_priority));
  }
  return {};
}

// ---- what
// -----------------------------------------------------------------------------------------

Status check_ports(const CreateSession& request) {
  std::set<std::int64_t> seen;
  for (const std::int64_t port : request.preopen_ports) {
    if (port < 1 || port > 65535) return invalid(fmt::format("preopen_ports: {} is no port", port));
    if (port == 2000 || port == 2001 || port == 2200 || port == 7681) {
      return invalid(fmt::format("preopen_ports: port {} is reserved", port));
    }
    if (!seen.insert(port).second)
      return invalid(fmt::format("preopen_ports: {} stands twice", port));
  }
  return {};
}

// The ports in an image's list of services: "name:protocol:port" or "name:protocol:[port,port]",
// comma-separated. Any number that stands alone between punctuation is one.
std::set<std::int64_t> service_ports(std::string_view label) {
  constexpr std::string_view kPunctuation = ":,[]";
  std::set<std::int64_t> ports;
  while (!label.empty()) {
    const std::size_t end = std::min(label.find_first_of(kPunctuation), label.size());
    const std::string_view word = label.substr(0, end);
    std::int64_t port = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), port);
    if (error == std::errc{} && stop == word.data() + word.size()) ports.insert(port);
    label.remove_prefix(std::min(end + 1, label.size()));
  }
  return ports;
}

Status check_image_ports(const CreateSession& request, const Image& image) {
  const auto taken = service_ports(image.labels["ai.backend.service-ports"].as_string());
  for (const std::int64_t port : request.preopen_ports) {
    if (!taken.contains(port)) continue;
    return invalid(
        fmt::format("preopen_ports: {} is a service port of image {}", port, image.canonical));
  }
  return {};
}

// Whatever a session brings along stays in memory as long as it does.
Status check_sizes(const Context& ctx, const CreateSession& request) {
  const Options& options = ctx.options;
  if (request.tag.size() > options.tag_max) {
    return invalid(fmt::format("tag: can have {} bytes at most", options.tag_max));
  }
  if (request.environ.dump().size() > options.environ_max) {
    return invalid(fmt::format("environ: is larger than {} bytes", options.environ_max));
  }
  if (request.resource_opts.dump().size() > options.resource_opts_max) {
    return invalid(
        fmt::format("resource_opts: is larger than {} bytes", options.resource_opts_max));
  }
  for (const auto* text : {&request.startup_command, &request.bootstrap_script}) {
    if (text->size() > options.script_max) {
      return invalid(fmt::format("startup_command and bootstrap_script can have {} bytes at most",
                                 options.script_max));
    }
  }
  const std::array lists = {std::pair{"dependencies", request.dependencies.size()},
                            std::pair{"preopen_ports", request.preopen_ports.size()},
                            std::pair{"agents", request.agents.size()}};
  for (const auto& [name, size] : lists) {
    if (size > options.list_max) {
      return invalid(fmt::format("{}: can have {} entries at most", name, options.list_max));
    }
  }
  for (const std::string& agent : request.agents) {
    if (agent.size() > kAgentIdMax) {
      return invalid(fmt::format("agents: an id can have {} bytes at most", kAgentIdMax));
    }
  }
  return {};
}

Status check_texts(const Context& ctx, const CreateSession& request) {
  if (!is_valid_session_name(request.name)) {
    return invalid(
        fmt::format("session_name: \"{}\" must have 4 to 64 characters out of letters, digits "
                    "and '_', inside also '.' and '-'",
                    request.name));
  }
  if (!request.environ.is_object()) return invalid("environ: must be an object of texts");
  for (const auto& [name, value] : request.environ.members()) {
    if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos) {
      return invalid(fmt::format("environ: {} is no name of a variable", Json(name).dump()));
    }
  }
  if (!request.resource_opts.is_object()) return invalid("resource_opts: must be an object");
  for (const char* rule : {"agent_labels", "preferred_agent_labels"}) {
    if (!is_label_rule(request.resource_opts[rule])) {
      return invalid(
          fmt::format("resource_opts.{}: must be an object like {{\"rack\": \"r1\", "
                      "\"gpu-model\": [\"A100\", \"H100\"]}}",
                      rule));
    }
  }
  const bool batch = request.type == SessionType::Batch;
  if (batch && request.startup_command.empty()) {
    return invalid("startup_command: a batch session needs one");
  }
  if (!batch && request.starts_at.ns != 0)
    return invalid("starts_at: only batch sessions have one");
  if (!batch && request.batch_timeout)
    return invalid("batch_timeout: only batch sessions have one");
  if (request.batch_timeout && request.batch_timeout->ns <= 0) {
    return invalid("batch_timeout: must be longer than 0");
  }
  if (request.batch_timeout && *request.batch_timeout > kBatchTimeoutMax) {
    return invalid(
        fmt::format("batch_timeout: can be {} seconds at most", kBatchTimeoutMax.ms() / 1000));
  }
  if (request.priority < 0 || request.priority > 100) return invalid("priority: must be 0 to 100");
  if (!request.callback_url.empty()) {
    return invalid(
        "callback_url: this manager calls nobody back; leave it out and ask for the "
        "session's status instead");
  }
  if (request.cluster_size < 1 || request.cluster_size > ctx.options.cluster_size_max) {
    return invalid(fmt::format("cluster_size: must be 1 to {}", ctx.options.cluster_size_max));
  }
  const auto& kernels = request.kernel_slots;
  if (!kernels.empty() && std::cmp_not_equal(kernels.size(), request.cluster_size)) {
    return invalid(fmt::format("kernels: {} are described, and cluster_size is {}", kernels.size(),
                               request.cluster_size));
  }
  if (!kernels.empty() && !request.slots.empty()) {
    return invalid("kernels: give amounts either for each of them or for all alike");
  }
  return {};
}

Status check_dependencies(const State& state, const CreateSession& request) {
  for (const SessionId& id : request.dependencies) {
    if (state.find<Session>(id) == nullptr) {
      return fail(ErrorCode::NotFound,
                  fmt::format("dependencies: there is no session {}", to_string(id)),
                  "session-not-found");
    }
  }
  return {};
}

// What somebody else has grouped is as unknown as what is not there.
Status check_session_group(const State& state, const Caller& caller, const std::string& id,
                           const Session& session) {
  if (id.empty()) return {};
  const SessionGroup* group = state.find<SessionGroup>(id);
  const bool sees_all = caller.is_system || caller.role == UserRole::Superadmin;
  if (group == nullptr || group->project != session.project ||
      (group->owner != session.user && !sees_all)) {
    return fail(ErrorCode::NotFound,
                fmt::format("session_group: you have no group \"{}\" in this project", id),
                "session-group-not-found");
  }
  return {};
}

// The level that a session demands must be one of its resource group.
Status check_topology(const ResourceGroup& group, const Json& wanted) {
  if (wanted.is_null()) return {};
  std::string levels;
  for (const Json& level : group.policy_options["topology"].items()) {
    if (wanted.is_string() && wanted.as_string() == level.as_string()) return {};
    levels.append(levels.empty() ? "" : ", ").append(level.as_string());
  }
  return invalid(fmt::format(
      "resource_opts.topology: must be a level of resource group \"{}\", which has {}, not {}",
      group.name.view(), levels.empty() ? "none" : levels, wanted.dump()));
}

Session make_session(const Context& ctx, const CreateSession& request, const User& user,
                     const Keypair& owner, const Project& project) {
  Session s;
  s.id = mint<SessionId>(ctx.now, ctx.entropy);
  s.name = request.name;
  s.type = request.type;
  s.cluster_mode = request.cluster_mode;
  s.cluster_size = request.cluster_size;
  s.priority = request.priority;
  s.job_priority = request.job_priority;
  s.is_preemptible = request.is_preemptible;
  s.domain = request.domain;
  s.project = project.id;
  s.user = user.id;
  s.access_key = owner.access_key;
  s.tag = request.tag;
  s.session_group = request.session_group;
  s.resource_opts = request.resource_opts;
  s.environ = request.environ;
  s.designated_agents = request.agents;
  for (const SessionId& id : request.dependencies) s.dependencies.push_back(to_string(id));
  s.startup_command = request.startup_command;
  s.bootstrap_script = request.bootstrap_script;
  s.callback_url = request.callback_url;
  s.preopen_ports = request.preopen_ports;
  s.batch_timeout = request.batch_timeout;
  s.requested_starts_at = request.starts_at;
  // Two of one instant would have no order that anybody could rely on.
  ctx.last_created = std::max(ctx.now, ctx.last_created + nanoseconds(1));
  s.created_at = ctx.last_created;
  s.status_times = {{"PENDING", ctx.now}};
  return s;
}

Kernel make_kernel(const Context& ctx, const Session& session, const SlotMap& slots,
                   std::int64_t rank) {
  Kernel k;
  k.id = mint<KernelId>(ctx.now, ctx.entropy);
  k.session = session.id;
  k.cluster_role = rank == 0 ? "main" : "sub";
  k.cluster_idx = rank == 0 ? 1 : rank;
  k.local_rank = rank;
  k.cluster_hostname = fmt::format("{}{}", k.cluster_role, k.cluster_idx);
  k.image = session.image;
  k.architecture = session.architecture;
  k.requested_slots = slots;
  k.created_at = ctx.now;
  k.status_times = {{"PENDING", ctx.now}};
  return k;
}

}  // namespace

bool is_valid_session_name(std::string_view name) noexcept {
  if (name.size() < 4 || name.size() > 64 || !is_word(name.front()) || !is_word(name.back()))
    return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

const Image* find_image(const State& state, std::string_view name, std::string_view architecture) {
  const Image* found = nullptr;
  state.table<Image>().for_each_in(index::kImageByCanonical,
                                   IndexPrefix{}.add(name).add(architecture).str(),
                                   [&](const Image& image) {
                                     found = &image;
                                     return false;
                                   });
  if (found != nullptr) return found;
  state.table<Image>().for_each([&](const Image& image) {
    if (image.architecture == architecture &&
        std::find(image.aliases.begin(), image.aliases.end(), name) != image.aliases.end()) {
      found = &image;
    }
    return found == nullptr;
  });
  return found;
}

Result<const Project*> find_project(const State& state, const User& user, const DomainName& domain,
                                    std::string_view name) {
  const Project* found = nullptr;
  state.table<Project>().for_each_in(index::kProjectByDomainName,
                                     IndexPrefix{}.add(domain.view()).add(name).str(),
                                     [&](const Project& p) {
                                       found = &p;
                                       return false;
                                     });
  if (found == nullptr || !found->is_active) {
    return fail(ErrorCode::NotFound,
                fmt::format("There is no project \"{}\" in domain \"{}\"", name, domain.view()),
                "group-not-found");
  }
  const bool member =
      state.find<ProjectMember>(to_string(found->id) + "/" + to_string(user.id)) != nullptr;
  if (!member && user.role != UserRole::Superadmin) {
    return fail(ErrorCode::PermissionDenied,
                fmt::format("{} is not a member of project \"{}\"", user.email, name),
                "generic-forbidden");
  }
  return found;
}

Result<SessionDraft> draft_session(Context& ctx, const Caller& caller, const CreateSession& request,
                                   const Keypair& owner) {
  const State& state = ctx.state();
  for (const Status& status : {check_sizes(ctx, request), check_texts(ctx, request),
                               check_ports(request), check_dependencies(state, request)}) {
    if (!status) return std::unexpected(status.error());
  }
  const User* user = state.find<User>(owner.user);
  if (user == nullptr || user->status != UserStatus::Active) {
    return fail(ErrorCode::PermissionDenied, "The owner of the keypair is not active",
                "generic-forbidden");
  }
  const auto project = find_project(state, *user, request.domain, request.project);
  if (!project) return std::unexpected(project.error());
  const Image* image = find_image(state, request.image, request.architecture);
  if (image == nullptr) {
    return fail(ErrorCode::NotFound,
                fmt::format("There is no image \"{}\" for {}", request.image, request.architecture),
                "image-not-found");
  }
  if (auto ok = check_image_ports(request, *image); !ok) return std::unexpected(ok.error());
  const auto group = choose_group(state, **project, owner.access_key, request);
  if (!group) return std::unexpected(group.error());
  const auto slots = kernel_slots(state, request, *image, **group);
  if (!slots) return std::unexpected(slots.error());

  SessionDraft draft;
  draft.session = make_session(ctx, request, *user, owner, **project);
  draft.session.image = image->canonical;
  draft.session.architecture = image->architecture;
  draft.session.resource_group = (*group)->name;
  if ((*group)->pending_timeout_s > 0) {
    draft.session.deadline = ctx.now + seconds((*group)->pending_timeout_s);
  }
  std::int64_t rank = 0;
  for (const SlotMap& of_kernel : *slots) {
    draft.session.requested_slots += of_kernel;
    draft.kernels.push_back(make_kernel(ctx, draft.session, of_kernel, rank++));
  }
  if (auto ok = check_sums(state, draft.session); !ok) return std::unexpected(ok.error());
  for (const Status& status :
       {check_own_reservation(state, draft.session, ctx.now),
        check_session_group(state, caller, request.session_group, draft.session),
        check_topology(**group, request.resource_opts["topology"])}) {
    if (!status) return std::unexpected(status.error());
  }
  if (const auto* policy = state.find<KeypairPolicy>(owner.resource_policy)) {
    if (auto ok = check_policy(state, request, *policy, owner, draft.session.requested_slots);
        !ok) {
      return std::unexpected(ok.error());
    }
  }
  return draft;
}

}  // namespace bai::service
