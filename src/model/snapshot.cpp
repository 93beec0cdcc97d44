#include "bai_manager/snapshot.hpp"

#include "model/reservation.hpp"
#include "model/state.hpp"

namespace bai {

Snapshot::Snapshot(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Snapshot::~Snapshot() = default;

StateVersion Snapshot::version() const noexcept { return state_->version; }
const SlotTypes& Snapshot::slot_types() const noexcept { return state_->slot_types(); }

template <Entity E>
const E* Snapshot::find(const KeyOf<E>& key) const {
  return state_->find<E>(key);
}
template <Entity E>
std::size_t Snapshot::count() const {
  return state_->table<E>().size();
}
template <Entity E>
void Snapshot::for_each(const std::function<bool(const E&)>& visit) const {
  state_->table<E>().for_each(visit);
}

#define BAI_SNAPSHOT_OF(E)                                    \
  template const E* Snapshot::find<E>(const KeyOf<E>&) const; \
  template std::size_t Snapshot::count<E>() const;            \
  template void Snapshot::for_each<E>(const std::function<bool(const E&)>&) const;
BAI_ENTITIES(BAI_SNAPSHOT_OF)
#undef BAI_SNAPSHOT_OF

namespace {

// The only row of a unique index with these leading values, or null.
template <Entity E>
const E* only(const State& state, std::size_t index, const IndexPrefix& prefix) {
  const E* found = nullptr;
  state.table<E>().for_each_in(index, prefix.str(), [&](const E& row) {
    found = &row;
    return false;
  });
  return found;
}

}  // namespace

const Project* Snapshot::find_project(const DomainName& domain, std::string_view name) const {
  return only<Project>(*state_, index::kProjectByDomainName,
                       IndexPrefix{}.add(domain.view()).add(name));
}

const User* Snapshot::find_user_by_email(std::string_view email) const {
  return only<User>(*state_, index::kUserByEmail, IndexPrefix{}.add(email));
}

const Image* Snapshot::find_image(std::string_view name_or_alias,
                                  std::string_view architecture) const {
  if (const Image* image = only<Image>(*state_, index::kImageByCanonical,
                                       IndexPrefix{}.add(name_or_alias).add(architecture))) {
    return image;
  }
  const Image* found = nullptr;
  state_->table<Image>().for_each([&](const Image& image) {
    const auto& aliases = image.aliases;
    if (image.architecture != architecture ||
        std::find(aliases.begin(), aliases.end(), name_or_alias) == aliases.end()) {
      return true;
    }
    found = &image;
    return false;
  });
  return found;
}

const Session* Snapshot::find_live_session(const AccessKey& owner, std::string_view name) const {
  return state_->find_live_session(owner, name);
}

std::vector<const Session*> Snapshot::live_sessions(const AccessKey& owner) const {
  std::vector<const Session*> sessions;
  state_->table<Session>().for_each_in(index::kSessionByOwnerName,
                                       IndexPrefix{}.add(owner.view()).str(),
                                       [&](const Session& session) {
                                         if (!is_terminal(session.status))
                                           sessions.push_back(&session);
                                         return true;
                                       });
  return sessions;
}

std::vector<const Session*> Snapshot::sessions_in(SessionStatus status) const {
  std::vector<const Session*> sessions;
  state_->table<Session>().for_each_in(index::kSessionByStatus,
                                       IndexPrefix{}.add(to_string(status)).str(),
                                       [&](const Session& session) {
                                         sessions.push_back(&session);
                                         return true;
                                       });
  std::sort(sessions.begin(), sessions.end(),
            [](const Session* a, const Session* b) { return a->id < b->id; });
  return sessions;
}

std::vector<const Session*> Snapshot::live_members(std::string_view session_group) const {
  return state_->live_members(session_group);
}

std::size_t Snapshot::count_sessions(SessionStatus status) const {
  return state_->table<Session>().count_in(index::kSessionByStatus,
                                           IndexPrefix{}.add(to_string(status)).str());
}

std::vector<const Kernel*> Snapshot::kernels_of(const SessionId& session) const {
  std::vector<const Kernel*> kernels;
  state_->table<Kernel>().for_each_in(index::kKernelBySession,
                                      IndexPrefix{}.add(to_string(session)).str(),
                                      [&](const Kernel& kernel) {
                                        kernels.push_back(&kernel);
                                        return true;
                                      });
  return kernels;
}

std::vector<const Kernel*> Snapshot::kernels_on(const AgentId& agent) const {
  std::vector<const Kernel*> kernels;
  state_->table<Kernel>().for_each_in(index::kKernelByAgent, IndexPrefix{}.add(agent.view()).str(),
                                      [&](const Kernel& kernel) {
                                        if (holds_resources(kernel.status))
                                          kernels.push_back(&kernel);
                                        return true;
                                      });
  return kernels;
}

std::vector<ReservationGap> Snapshot::reservation_gaps(const ResourceGroupName& group) const {
  return bai::reservation_gaps(*state_, group);
}

bool Snapshot::is_member(const ProjectId& project, const UserId& user) const {
  return find<ProjectMember>(to_string(project) + "/" + to_string(user)) != nullptr;
}

std::vector<const ResourceGroup*> Snapshot::accessible_groups(const DomainName& domain,
                                                              const ProjectId& project,
                                                              const AccessKey& key) const {
  std::vector<const ResourceGroup*> groups;
  const auto add = [&](ScopeKind kind, std::string_view scope) {
    state_->table<ResourceGroupGrant>().for_each_in(
        index::kGrantByScope, IndexPrefix{}.add(to_string(kind)).add(scope).str(),
        [&](const ResourceGroupGrant& grant) {
          const ResourceGroup* group = find<ResourceGroup>(grant.resource_group);
          if (group != nullptr && group->is_active) groups.push_back(group);
          return true;
        });
  };
  add(ScopeKind::Domain, domain.view());
  add(ScopeKind::Project, to_string(project));
  add(ScopeKind::Keypair, key.view());
  std::sort(groups.begin(), groups.end(),
            [](const ResourceGroup* a, const ResourceGroup* b) { return a->name < b->name; });
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

}  // namespace bai
