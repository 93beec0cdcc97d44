#include "sched/victim_index.hpp"

#include <algorithm>
#include <numeric>

#include "sched/victim_index_tree.hpp"
#include "sched/view_source.hpp"

namespace bai::sched {

namespace {

constexpr std::size_t kMovesMax = 64;  // agents that come or go before a tree is built anew
constexpr std::size_t kLagMax = 64;    // agents to be read again beyond what building takes

}  // namespace

VictimIndex::VictimIndex(std::size_t entries_kept)
    : entries_kept_(entries_kept), trees_(std::make_unique<Trees>()) {}
VictimIndex::~VictimIndex() = default;

VictimIndex::Tree* VictimIndex::refreshed(const Question& question) {
  const Group& group = question.source.group;
  const Victims* victims = question.source.mirror.tenancy().victims(group.name);
  Kind kind;
  kind.by_priority = false;
  if (question.by_priority && question.rules.enabled && victims != nullptr) {
    const auto above = victims->by_priority.lower_bound(question.job_priority);
    kind.by_priority = above != victims->by_priority.begin();
    if (kind.by_priority) kind.highest = std::prev(above)->first;
  }
  if (!kind.by_priority && question.borrowers.empty()) return nullptr;
  if (rules_ != question.rules) trees_->clear();
  rules_ = question.rules;
  if (weighs(rules_)) magnitudes_ = Magnitudes(SchedView(question.source));
  kind.architecture = question.requirement.architecture;
  for (const SlotRequest& r : question.requirement.slots) {
    if (r.units > 0) kind.needed.push_back(r.slot);
  }
  std::ranges::sort(kind.needed);
  kind.needed.erase(std::ranges::unique(kind.needed).begin(), kind.needed.end());
  kind.counts_containers = question.container_limit != kNoContainerLimit;
  kind.borrowers.assign(question.borrowers.begin(), question.borrowers.end());
  using Of = PreemptionRules::Scope;
  if (kind.by_priority) {
    if (rules_.victim_scope == Of::User) kind.user = question.owner.user;
    if (rules_.victim_scope == Of::Project) kind.project = question.owner.project;
    if (rules_.victim_scope == Of::Domain) kind.domain = question.owner.domain;
  }
  Tree& tree = trees_->of(kind, rules_);
  catch_up(tree, question);
  const std::size_t count = victims != nullptr ? victims->by_user.size() : 0;
  trees_->settle(std::max(entries_kept_, kEntriesPerVictim * count));
  return &tree;
}

void VictimIndex::build(Tree& tree, const Question& question) {
  tree.built = ++builds_;
  tree.bounds.clear();
  tree.spots.clear();
  tree.agents.clear();
  tree.unused.clear();
  tree.firsts.clear();
  tree.gains.clear();
  tree.holds.clear();
  const std::vector<AgentIndex> where = where_victims_are(tree.kind, question);
  for (const AgentIndex agent : where) read(tree, question, agent);
  tree.built_from = where.size();
  tree.bounds.follow_all();
}

// All agents where nothing says less.
std::vector<AgentIndex> VictimIndex::where_victims_are(const Kind& kind,
                                                       const Question& question) const {
  const Group& group = question.source.group;
  const AgentTable& agents = group.agents;
  const Tenancy& tenancy = question.source.mirror.tenancy();
  std::vector<AgentIndex> where;
  const auto add = [&](const SessionId& id) {
    const Tenant* tenant = tenancy.tenant(id);
    if (tenant == nullptr) return true;
    for (const auto& kernel : tenant->kernels) {
      if (const auto agent = agents.find(kernel->agent)) where.push_back(*agent);
    }
    return where.size() < agents.size();
  };
  using Of = PreemptionRules::Scope;
  bool is_known = true;
  if (kind.by_priority) {
    const Victims& victims = *tenancy.victims(group.name);
    is_known = (rules_.victim_scope == Of::User && victims.for_each_of(kind.user, add)) ||
               (rules_.victim_scope == Of::Project && victims.for_each_of(kind.project, add));
  }
  for (const Borrower& borrower : kind.borrowers) {
    is_known = is_known && tenancy.for_each_victim_of(borrower.project, add);
  }
  if (!is_known) {
    where.resize(agents.size());
    std::iota(where.begin(), where.end(), AgentIndex{0});
  }
  std::ranges::sort(where);
  where.erase(std::ranges::unique(where).begin(), where.end());
  return where;
}

void VictimIndex::catch_up(Tree& tree, const Question& question) {
  const Group& group = question.source.group;
  const AgentTable& agents = group.agents;
  const std::vector<AgentIndex>& tenants = group.tenants.agents();
  const bool has_numbers = tree.log_epoch == agents.log_epoch()
                               ? agents.moves().size() - tree.moves <= kMovesMax
                               : tree.settings_epoch == agents.settings_epoch();
  if (!has_numbers || tree.tenants_epoch != group.tenants.epoch() ||
      tenants.size() - tree.tenants > tree.built_from + kLagMax || question.source.now < tree.now) {
    tree.now = question.source.now;
    build(tree, question);
  } else {
    tree.now = question.source.now;
    std::vector<std::uint32_t> changed;  // places
    const bool all = !follow_agents(tree, agents, changed);
    if (all) {
      for (std::uint32_t place = 0; place < tree.agents.size(); ++place) {
        read_amounts(tree, agents, place);
      }
      tree.bounds.follow_all();
    }
    std::ranges::sort(changed);
    changed.erase(std::ranges::unique(changed).begin(), changed.end());
    for (const std::uint32_t place : changed) read_amounts(tree, agents, place);
    for (const std::uint32_t place : changed) tree.bounds.follow(place);
    std::vector<AgentIndex> stirred(tenants.begin() + static_cast<std::ptrdiff_t>(tree.tenants),
                                    tenants.end());
    ripened(tree, stirred);
    reweighed(tree, stirred);
    std::ranges::sort(stirred);
    stirred.erase(std::ranges::unique(stirred).begin(), stirred.end());
    for (const AgentIndex agent : stirred) {
      if (agent == AgentLog::kGone) continue;
      const std::uint32_t before = tree.place_of(agent);
      read(tree, question, agent);
      tree.read.note(agent);
      const std::uint32_t place = before != kNowhere ? before : tree.place_of(agent);
      if (place != kNowhere) tree.bounds.follow(place);
    }
  }
  tree.log_epoch = agents.log_epoch();
  tree.settings_epoch = agents.settings_epoch();
  tree.tenants_epoch = group.tenants.epoch();
  tree.changes = agents.changed().size();
  tree.moves = agents.moves().size();
  tree.tenants = tenants.size();
  tree.magnitudes = magnitudes_;
}

// Places whose agents have changed. False: any may have.
bool VictimIndex::follow_agents(Tree& tree, const AgentTable& agents,
                                std::vector<std::uint32_t>& changed) {
  if (tree.log_epoch != agents.log_epoch()) return false;
  const std::vector<AgentIndex>& log = agents.changed();
  const std::vector<AgentMove>& moves = agents.moves();
  for (std::size_t move = tree.moves;; ++move) {
    const bool last = move == moves.size();
    const std::size_t until = last ? log.size() : moves[move].changes_before;
    for (; tree.changes < until; ++tree.changes) {
      const std::uint32_t place = tree.place_of(log[tree.changes]);
      if (place != kNowhere) changed.push_back(place);
    }
    if (last) return true;
    const auto& [before, at, what] = moves[move];
    if (what == AgentMove::What::Relabelled) continue;
    const bool came = what == AgentMove::What::Came;
    if (const std::uint32_t place = came ? kNowhere : tree.place_of(at); place != kNowhere) {
      tree.leave(place);
      tree.bounds.follow(place);
    }
    const auto behind = std::ranges::lower_bound(tree.spots, at, {}, &Tree::Spot::agent);
    for (auto& [agent, place] : std::ranges::subrange(behind, tree.spots.end())) {
      agent = came ? agent + 1 : agent - 1;
      tree.agents[place] = agent;
    }
  }
}

// Agents with somebody who has come to have run long enough.
void VictimIndex::ripened(const Tree& tree, std::vector<AgentIndex>& agents) const {
  if (!tree.bounds.has_root()) return;
  std::vector<VictimTree::Node> nodes{tree.bounds.root()};
  while (!nodes.empty()) {
    const VictimTree::Node node = nodes.back();
    nodes.pop_back();
    const std::int64_t ripe = tree.bounds.numbers(node)[tree.ripe()];
    if (ripe == kNothing || -ripe > tree.now.ns) continue;
    if (node.level == 0) {
      agents.push_back(tree.agents[node.at]);
    } else {
      tree.bounds.below(node, [&](VictimTree::Node child) { nodes.push_back(child); });
    }
  }
}

// Agents with somebody who weighs something else now.
void VictimIndex::reweighed(const Tree& tree, std::vector<AgentIndex>& agents) const {
  const std::uint64_t changed = weighs(rules_) ? magnitudes_.differing(tree.magnitudes) : 0;
  if (changed == 0) return;
  for (const auto& [agent, place] : tree.spots) {
    if ((tree.holds[place] & changed) != 0) agents.push_back(agent);
  }
}

bool VictimIndex::gives_back(const Kind& kind, const Tenant& tenant, const Mirror& mirror) {
  if (kind.borrowers.empty()) return false;
  const auto at =
      std::ranges::lower_bound(kind.borrowers, tenant.row->project, {}, &Borrower::project);
  return at != kind.borrowers.end() && at->project == tenant.row->project &&
         std::ranges::any_of(tenant.kernels, [&](const auto& kernel) {
           return std::ranges::any_of(mirror.held(kernel->id).first->slots, [&](const auto& r) {
             return r.units > 0 && std::ranges::binary_search(at->slots, r.slot);
           });
         });
}

// Who is on the agent, and what is free there.
void VictimIndex::read(Tree& tree, const Question& question, AgentIndex agent) {
  const Mirror& mirror = question.source.mirror;
  const Group& group = question.source.group;
  ++looked_at_;
  stakes_.clear();
  bool anybody = false;
  std::int64_t ripe = kNothing, kernels = 0;
  for (const HeldOn& one : group.held_on(agent)) {
    const Tenant* tenant = mirror.tenancy().tenant(one.held->session);
    if (tenant == nullptr || tenant->row == nullptr) continue;
    const Session& row = *tenant->row;
    if (!may_be_ended(row) || (!claimed_.empty() && claimed_.contains(row.id))) continue;
    if (!gives_back(tree.kind, *tenant, mirror)) {
      if (!tree.kind.by_priority || row.job_priority > tree.kind.highest ||
          !is_in_scope(row, rules_, group.name, question.owner)) {
        continue;
      }
      anybody = true;
      if (const Timestamp from = row.starts_at + rules_.min_runtime; from > tree.now) {
        ripe = std::max(ripe, -from.ns);
        continue;
      }
    }
    anybody = true;
    ++kernels;
    auto stake = stakes_.end();
    if (tenant->kernels.size() > 1) {
      stake = std::ranges::find(stakes_, tenant, &Stake::tenant);
    }
    if (stake == stakes_.end()) {
      stake = stakes_.insert(stake, {tenant, std::vector<std::int64_t>(tree.slots, 0)});
    }
    for (const SlotRequest& r : one.held->slots) {
      const auto slot = std::ranges::lower_bound(tree.kind.needed, r.slot);
      if (slot == tree.kind.needed.end() || *slot != r.slot) continue;
      auto& units = stake->units[static_cast<std::size_t>(slot - tree.kind.needed.begin())];
      units = capped_sum(units, std::max<std::int64_t>(0, r.units));
    }
  }
  std::uint32_t place = tree.place_of(agent);
  if (!anybody) {
    if (place != kNowhere) tree.leave(place);
    return;
  }
  if (place == kNowhere) place = tree.place_for(agent);
  const auto gain = tree.gain(place);
  std::ranges::fill(gain, 0);
  gain[tree.slots] = kernels;
  const auto numbers = tree.bounds.numbers(place);
  std::ranges::fill(numbers, kNothing);
  numbers[tree.ripe()] = ripe;
  VictimKey& first = tree.firsts[place];
  first = kNobody;
  const bool by_weight = weighs(rules_);
  tree.holds[place] = 0;
  for (const Stake& stake : stakes_) {
    const std::int64_t weight = by_weight ? weight_of(*stake.tenant, mirror, magnitudes_) : 0;
    for (const auto& kernel : stake.tenant->kernels) {
      if (!by_weight) break;
      for (const SlotRequest& r : mirror.held(kernel->id).first->slots) {
        tree.holds[place] |= bit_of(r.slot);
      }
    }
    if (tree.kind.counts_containers ||
        std::ranges::any_of(stake.units, [](std::int64_t units) { return units > 0; })) {
      first = std::min(first, victim_key(*stake.tenant->row, rules_, weight));
    }
    for (std::size_t i = 0; i < tree.slots; ++i) {
      gain[i] = capped_sum(gain[i], stake.units[i]);
      if (!counts_cost(rules_) || stake.units[i] == 0) continue;
      const auto raise = [&](std::size_t which, std::int64_t number) {
        numbers[which] = std::max(numbers[which], number);
      };
      raise(tree.most(i), stake.units[i]);
      if (!by_weight) continue;
      raise(tree.lightest(i), -weight);
      raise(tree.price(i), -price_of(weight, stake.units[i], magnitudes_[tree.kind.needed[i]]));
    }
  }
  read_amounts(tree, group.agents, place);
}

void VictimIndex::read_amounts(Tree& tree, const AgentTable& agents, std::uint32_t place) {
  const AgentIndex agent = tree.agents[place];
  if (agent == AgentLog::kGone) return;
  const auto gain = tree.gain(place);
  const auto numbers = tree.bounds.numbers(place);
  const bool takes =
      agents.takes_sessions(agent) && agents.architecture(agent) == tree.kind.architecture;
  const std::int64_t* row = agents.free_row(agent);
  for (std::size_t i = 0; i < tree.slots; ++i) {
    const SlotIndex slot = tree.kind.needed[i];
    const bool has = takes && slot < agents.column_count() && row[slot] > kAbsent;
    numbers[i] = has ? capped_sum(row[slot], gain[i]) : kNothing;
    if (counts_cost(rules_)) numbers[tree.free(i)] = has ? row[slot] : kNothing;
  }
  tree.bounds.first(place) = takes ? tree.firsts[place] : kNobody;
  numbers[tree.containers()] = gain[tree.slots] - std::int64_t{agents.containers(agent)};
}

std::size_t VictimIndex::entries() const noexcept { return trees_->entries; }

bool VictimIndex::is_sound() const {
  std::size_t entries = 0;
  for (const Tree& tree : trees_->all) entries += tree.entries();
  return entries == trees_->entries && trees_->all.size() == trees_->by_kind.size() &&
         std::ranges::all_of(trees_->all, [](const Tree& t) { return t.bounds.is_sound(); });
}

}  // namespace bai::sched
