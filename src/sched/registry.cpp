#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "sched/policy_set.hpp"

namespace bai {

namespace {

constexpr std::int64_t kContainerCountMax = 1'000'000;
constexpr std::int64_t kRuntimeMax_s = 10LL * 365 * 24 * 3600;
constexpr std::int64_t kBackfillDepthMax = 10'000;
constexpr std::size_t kTopologyLevelsMax = 8;

template <class Table>
Status add_to(Table& table, std::string_view what, std::string name, auto factory) {
  if (name.empty()) {
    return fail(ErrorCode::InvalidArgument, fmt::format("A {} needs a name.", what));
  }
  for (const auto& [taken, made_by] : table) {
    if (taken != name) continue;
    return fail(ErrorCode::AlreadyExists,
                fmt::format("There is already a {} named {}.", what, base::quoted(name)),
                "policy-already-exists");
  }
  table.emplace_back(std::move(name), std::move(factory));
  return {};
}

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& entry : table) names.push_back(entry.first);
  return names;
}

template <class P, class Table>
Result<std::unique_ptr<const P>> make_from(const Table& table, std::string_view what,
                                           std::string_view name, const Json& options) {
  for (const auto& [known, factory] : table) {
    if (known != name) continue;
    PolicyOptions reader(options);
    auto policy = factory(reader);
    if (auto read = reader.finish(); !read) {
      return fail(read.error().code,
                  fmt::format("{} {}: {}", what, base::quoted(name), read.error().message),
                  "invalid-policy-option");
    }
    if (policy == nullptr) {
      return fail(ErrorCode::Internal,
                  fmt::format("The factory of {} {} made nothing.", what, base::quoted(name)));
    }
    return policy;
  }
  auto names = names_of(table);
  std::ranges::sort(names);
  return fail(ErrorCode::NotFound,
              fmt::format("There is no {} named {}; there are: {}.", what, base::quoted(name),
                          fmt::join(names, ", ")),
              "unknown-policy");
}

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

}  // namespace

// ---- options

PolicyOptions::PolicyOptions(const Json& object) : object_(&object) {
  if (!object.is_object() && !object.is_null()) {
    problem(fmt::format("options must be an object, not {}", object.dump()));
  }
}

const Json* PolicyOptions::read(std::string_view name) {
  read_.emplace_back(name);
  const Json* value = object_->find(name);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

const Json& PolicyOptions::raw(std::string_view name) {
  static const Json null;
  const Json* value = read(name);
  return value != nullptr ? *value : null;
}

void PolicyOptions::refuse(std::string text) { problem(std::move(text)); }

void PolicyOptions::problem(std::string text) {
  if (problem_.empty()) problem_ = std::move(text);
}

std::int64_t PolicyOptions::integer(std::string_view name, std::int64_t fallback, std::int64_t min,
                                    std::int64_t max) {
  const Json* value = read(name);
  if (value == nullptr) return fallback;
  if (value->is_int() && value->as_int() >= min && value->as_int() <= max) return value->as_int();
  problem(fmt::format("option {} must be an integer from {} to {}, not {}", base::quoted(name), min,
                      max, value->dump()));
  return fallback;
}

bool PolicyOptions::flag(std::string_view name, bool fallback) {
  const Json* value = read(name);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) {
    problem(
        fmt::format("option {} must be true or false, not {}", base::quoted(name), value->dump()));
  }
  return value->as_bool(fallback);
}

std::string PolicyOptions::text(std::string_view name, std::string_view fallback) {
  const Json* value = read(name);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    problem(fmt::format("option {} must be a text, not {}", base::quoted(name), value->dump()));
  }
  return std::string(value->as_string(fallback));
}

std::string PolicyOptions::choice(std::string_view name,
                                  std::initializer_list<std::string_view> allowed,
                                  std::string_view fallback) {
  std::string value = base::lower(text(name, fallback));
  if (std::ranges::find(allowed, value) != allowed.end()) return value;
  problem(fmt::format("option {} must be one of {}, not {}", base::quoted(name),
                      fmt::join(allowed, ", "), base::quoted(value)));
  return std::string(fallback);
}

std::vector<std::string> PolicyOptions::texts(std::string_view name) {
  const Json* value = read(name);
  if (value == nullptr) return {};
  std::vector<std::string> all;
  for (const Json& item : value->items()) {
    if (!item.is_string()) break;
    all.emplace_back(item.as_string());
  }
  if (!value->is_array() || all.size() != value->size()) {
    problem(fmt::format("option {} must be a list of texts, not {}", base::quoted(name),
                        value->dump()));
  }
  return all;
}

Status PolicyOptions::finish() const {
  if (!problem_.empty()) return fail(ErrorCode::InvalidArgument, problem_);
  for (const auto& [name, value] : object_->members()) {
    if (std::ranges::find(read_, name) != read_.end()) continue;
    return fail(ErrorCode::InvalidArgument,
                read_.empty() ? fmt::format("unknown option {}; there are none", base::quoted(name))
                              : fmt::format("unknown option {}; there are: {}", base::quoted(name),
                                            fmt::join(read_, ", ")));
  }
  return {};
}

// ---- registry

Status PolicyRegistry::add_sequencer(std::string name, Factory<Sequencer> factory) {
  return add_to(sequencers_, "sequencer", std::move(name), std::move(factory));
}
Status PolicyRegistry::add_validator(std::string name, Factory<Validator> factory) {
  return add_to(validators_, "validator", std::move(name), std::move(factory));
}
Status PolicyRegistry::add_selector(std::string name, Factory<Selector> factory) {
  return add_to(selectors_, "selector", std::move(name), std::move(factory));
}

Result<std::unique_ptr<const Sequencer>> PolicyRegistry::make_sequencer(std::string_view name,
                                                                        const Json& options) const {
  return make_from<Sequencer>(sequencers_, "sequencer", name, options);
}
Result<std::unique_ptr<const Validator>> PolicyRegistry::make_validator(std::string_view name,
                                                                        const Json& options) const {
  return make_from<Validator>(validators_, "validator", name, options);
}
Result<std::unique_ptr<const Selector>> PolicyRegistry::make_selector(std::string_view name,
                                                                      const Json& options) const {
  return make_from<Selector>(selectors_, "selector", name, options);
}

std::vector<std::string> PolicyRegistry::sequencers() const {
  return sorted(names_of(sequencers_));
}
std::vector<std::string> PolicyRegistry::validators() const { return names_of(validators_); }
std::vector<std::string> PolicyRegistry::selectors() const { return sorted(names_of(selectors_)); }

Status PolicyRegistry::check(const ResourceGroup& group) const {
  auto made = sched::make_policy_set(*this, group);
  if (!made) return std::unexpected(std::move(made.error()));
  return {};
}

// ---- the set of one resource group

namespace sched {

namespace {

// The options that are about the resource group as a whole. Objects meant for policies are only
// marked as read here.
struct GroupOptions {
  std::string designation;
  std::int64_t container_count = 0;
  std::int64_t default_runtime_s = 0, backfill_depth = 0;
  std::vector<std::string> topology;
  bool shortest_backfill = false;
  PreemptionRules preemption;
  std::string scheduler_fallback;
  bool lists_validators = false;
  std::vector<std::string> validators;
};

Result<PreemptionRules> read_preemption(const Json& object) {
  using Rules = PreemptionRules;
  PolicyOptions reader(object);
  Rules rules;
  const auto one_of = [&](std::string_view name, std::initializer_list<std::string_view> names) {
    const std::string text = reader.choice(name, names, *names.begin());
    return static_cast<std::uint8_t>(std::ranges::find(names, text) - names.begin());
  };
  rules.enabled = reader.flag("enabled", false);
  rules.order =
      Rules::Order{one_of("order", {"oldest", "newest", "fewest-sessions", "smallest-resources"})};
  rules.victim_scope =
      Rules::Scope{one_of("victim_scope", {"user", "project", "domain", "resource-group"})};
  rules.min_runtime = seconds(reader.integer("min_runtime_s", 0, 0, kRuntimeMax_s));
  reader.choice("mode", {"terminate", "reschedule"}, "terminate");  // what the loop does
  if (auto read = reader.finish(); !read) {
    return fail(ErrorCode::InvalidArgument, "policy_options.preemption: " + read.error().message,
                "invalid-policy-option");
  }
  return rules;
}

std::string named_twice(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (std::ranges::count(names, name) > 1) return name;
  }
  return {};
}

// What is wrong with option "topology", or empty.
std::string wrong_levels(const std::vector<std::string>& levels) {
  if (levels.size() > kTopologyLevelsMax) {
    return fmt::format("option \"topology\" can have {} levels at most", kTopologyLevelsMax);
  }
  if (std::ranges::count(levels, std::string()) > 0) {
    return "option \"topology\" names a label that is empty";
  }
  if (const auto twice = named_twice(levels); !twice.empty()) {
    return fmt::format("option \"topology\" names {} twice", base::quoted(twice));
  }
  return {};
}

Result<GroupOptions> read_group_options(const Json& object) {
  PolicyOptions reader(object);
  GroupOptions options;
  options.designation =
      reader.choice("agent_selection_policy", {"preferred", "strict"}, "preferred");
  options.container_count = reader.integer("max_container_count", 0, 1, kContainerCountMax);
  options.default_runtime_s = reader.integer("default_runtime_s", 0, 1, kRuntimeMax_s);
  options.backfill_depth = reader.integer("backfill_depth", kBackfillDepth, 1, kBackfillDepthMax);
  options.shortest_backfill =
      reader.choice("backfill_order", {"queue", "shortest"}, "queue") == "shortest";
  options.topology = reader.texts("topology");
  if (const std::string wrong = wrong_levels(options.topology); !wrong.empty()) {
    reader.refuse(wrong);
  }
  options.scheduler_fallback = reader.text("scheduler_fallback", "");
  options.lists_validators = !object["validators"].is_null();
  options.validators = reader.texts("validators");
  if (const auto twice = named_twice(options.validators); !twice.empty()) {
    reader.refuse(fmt::format("option \"validators\" names {} twice", base::quoted(twice)));
  }
  for (const char* others : {"sequencer", "selector", "validator_options", "preemption"}) {
    reader.raw(others);  // each has a reader of its own
  }
  if (const Json& others = object["validator_options"]; !others.is_null() && !others.is_object()) {
    reader.refuse(
        fmt::format("option \"validator_options\" must be an object, not {}", others.dump()));
  }
  if (auto read = reader.finish(); !read) {
    return fail(ErrorCode::InvalidArgument, "policy_options: " + read.error().message,
                "invalid-policy-option");
  }
  auto preemption = read_preemption(object["preemption"]);
  if (!preemption) return std::unexpected(std::move(preemption.error()));
  options.preemption = *preemption;
  return options;
}

Status make_validators(const PolicyRegistry& registry, const GroupOptions& options,
                       const Json& validator_options, PolicySet& set) {
  const auto names = options.lists_validators ? options.validators : registry.validators();
  for (const std::string& name : names) {
    auto validator = registry.make_validator(name, validator_options[name]);
    if (!validator) return std::unexpected(std::move(validator.error()));
    set.validators.push_back(std::move(*validator));
  }
  for (const auto& [name, ignored] : validator_options.members()) {
    if (std::ranges::find(names, name) != names.end()) continue;
    return fail(ErrorCode::InvalidArgument,
                fmt::format("validator_options names {}, which is no validator of this group",
                            base::quoted(name)),
                "invalid-policy-option");
  }
  return {};
}

Result<PolicySet> make_set(const PolicyRegistry& registry, const ResourceGroup& group) {
  auto options = read_group_options(group.policy_options);
  if (!options) return std::unexpected(std::move(options.error()));
  PolicySet set;
  set.strict_designation = options->designation == "strict";
  if (options->container_count > 0) {
    set.container_limit = static_cast<std::uint32_t>(options->container_count);
  }
  set.backfill_depth = static_cast<std::uint32_t>(options->backfill_depth);
  set.shortest_backfill = options->shortest_backfill;
  set.topology = options->topology;
  set.preemption = options->preemption;
  auto sequencer = registry.make_sequencer(group.scheduler, group.policy_options["sequencer"]);
  if (!options->scheduler_fallback.empty()) {
    auto fallback = registry.make_sequencer(options->scheduler_fallback, Json());
    if (!fallback) return std::unexpected(std::move(fallback.error()));
    if (!sequencer && sequencer.error().code == ErrorCode::NotFound) {
      set.notice = fmt::format("Resource group {} is planned by {}: {}", group.name.str(),
                               options->scheduler_fallback, sequencer.error().message);
      sequencer = std::move(fallback);
    }
  }
  if (!sequencer) return std::unexpected(std::move(sequencer.error()));
  set.sequencer = std::move(*sequencer);
  auto selector = registry.make_selector(group.selector, group.policy_options["selector"]);
  if (!selector) return std::unexpected(std::move(selector.error()));
  set.selector = std::move(*selector);
  set.rates_agents = dynamic_cast<const ScoreSelector*>(set.selector.get()) != nullptr;
  const auto validators =
      make_validators(registry, *options, group.policy_options["validator_options"], set);
  if (!validators) return std::unexpected(validators.error());
  return set;
}

}  // namespace

Result<PolicySet> make_policy_set(const PolicyRegistry& registry, const ResourceGroup& group) {
  auto set = make_set(registry, group);
  if (set) return set;
  return fail(
      set.error().code,
      fmt::format("Resource group {}: {}", base::quoted(group.name.view()), set.error().message),
      set.error().kind);
}

}  // namespace sched

}  // namespace bai
