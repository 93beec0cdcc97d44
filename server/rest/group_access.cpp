#include "rest/group_access.hpp"

namespace bai::server {

std::set<ResourceGroupName> groups_of(const Snapshot& snapshot, const Caller& caller) {
  std::set<ResourceGroupName> names;
  snapshot.for_each<Project>([&](const Project& project) {
    if (project.domain == caller.domain && snapshot.is_member(project.id, caller.user)) {
      for (const auto* group :
           snapshot.accessible_groups(project.domain, project.id, caller.access_key)) {
        names.insert(group->name);
      }
    }
    return true;
  });
  return names;
}

}  // namespace bai::server
