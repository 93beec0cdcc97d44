#include <fmt/format.h>

#include <set>

#include "bai_manager/schema.hpp"
#include "core/reservations.hpp"
#include "model/devices.hpp"
#include "service/reservations.hpp"
#include "service/service.hpp"

namespace bai::service {

namespace {

using core::Context;

constexpr std::int64_t kPendingTimeoutMax = 10LL * 365 * 24 * 3600;

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::InvalidArgument, std::move(message), "invalid-api-parameters");
}

bool is_loadable(const EntityInfo& info) {
  switch (info.kind) {
    case EntityKind::Session:
    case EntityKind::Kernel:
    case EntityKind::Operation:
      return false;  // they have a life of their own
    default:
      return info.residence == Residence::Memory;
  }
}

// Ids that a fixture may leave out because they follow from the other fields.
void fill_in(ProjectMember& row) {
  if (row.id.empty()) row.id = to_string(row.project) + "/" + to_string(row.user);
}
void fill_in(ResourceGroupGrant& row) {
  if (row.id.empty()) {
    row.id =
        fmt::format("{}/{}/{}", row.resource_group.view(), to_string(row.scope_kind), row.scope);
  }
}
void fill_in(Reservation& row) {
  if (row.id.empty()) row.id = row.resource_group.str() + "/" + row.name;
}
template <class E>
void fill_in(E&) {}

template <class E>
void stamp_created(E& row, Timestamp now) {
  if constexpr (requires { row.created_at; }) {
    if (row.created_at.ns == 0) row.created_at = now;
  }
}

template <class E>
bool lacks_key(const E& row) {
  const auto& key = Table<E>::key_of(row);
  if constexpr (requires { key.is_nil(); }) {
    return key.is_nil();
  } else {
    return key.empty();
  }
}

// A group that cannot be planned would be found out at its next pass, and stand still.
Status check_row(const Context& ctx, const ResourceGroup& group) {
  if (group.pending_timeout_s < 0 || group.pending_timeout_s > kPendingTimeoutMax) {
    return invalid(fmt::format("resource group \"{}\": pending_timeout must be 0 to {} seconds",
                               group.name.view(), kPendingTimeoutMax));
  }
  if (ctx.policies == nullptr) return {};
  const Status ok = ctx.policies->check(group);
  return ok ? Status{} : invalid(ok.error().message);
}
template <class E>
Status check_row(const Context&, const E&) {
  return {};
}

template <class E>
Status load_row(Context& ctx, const EntityInfo& info, const Json& object,
                LoadFixture::Result& result) {
  E row;
  if (auto ok = row_from_json(info, &row, object, ctx.state().slot_types()); !ok) return ok;
  fill_in(row);
  if (lacks_key(row)) {
    return invalid(fmt::format("{}: a row needs its key \"{}\"", info.table, info.fields[0].name));
  }
  const E* present = ctx.state().find<E>(Table<E>::key_of(row));
  if (present == nullptr) {
    if (auto ok = check_row(ctx, row); !ok) return ok;
    stamp_created(row, ctx.now);
    ctx.changes.insert(std::move(row));
    ++result.inserted;
    return {};
  }
  // Members that the document does not name keep their values.
  E merged = *present;
  if (auto ok = row_from_json(info, &merged, object, ctx.state().slot_types()); !ok) return ok;
  if (auto ok = check_row(ctx, merged); !ok) return ok;
  ctx.changes.update<E>(Table<E>::key_of(*present), [&](E& r) { r = std::move(merged); });
  ++result.replaced;
  return {};
}

Status load_row(Context& ctx, const EntityInfo& info, const Json& object,
                LoadFixture::Result& result) {
  switch (info.kind) {
#define BAI_LOAD(E)   \
  case EntityKind::E: \
    return load_row<E>(ctx, info, object, result);
    BAI_ENTITIES(BAI_LOAD)
#undef BAI_LOAD
  }
  return {};
}

// References and unique names that hold after all rows are in.
Status check_tenants(const State& state) {
  Status status;
  const auto complain = [&](std::string message) {
    status = invalid(std::move(message));
    return false;
  };
  std::set<std::string> emails, names;
  state.table<User>().for_each([&](const User& user) {
    if (state.find<Domain>(user.domain) == nullptr) {
      return complain(
          fmt::format("user {}: there is no domain \"{}\"", user.email, user.domain.view()));
    }
    if (!emails.insert(user.email).second)
      return complain(fmt::format("two users have the email {}", user.email));
    if (!names.insert(user.username).second) {
      return complain(fmt::format("two users are named {}", user.username));
    }
    return true;
  });
  state.table<Keypair>().for_each([&](const Keypair& keypair) {
    if (state.find<User>(keypair.user) == nullptr) {
      return complain(fmt::format("keypair {}: there is no such user", keypair.access_key.view()));
    }
    if (state.find<KeypairPolicy>(keypair.resource_policy) == nullptr) {
      return complain(fmt::format("keypair {}: there is no keypair resource policy \"{}\"",
                                  keypair.access_key.view(), keypair.resource_policy.view()));
    }
    return true;
  });
  std::set<std::pair<DomainName, std::string>> projects;
  state.table<Project>().for_each([&](const Project& project) {
    if (state.find<Domain>(project.domain) == nullptr) {
      return complain(fmt::format("project {}: there is no domain \"{}\"", project.name,
                                  project.domain.view()));
    }
    if (!projects.emplace(project.domain, project.name).second) {
      return complain(
          fmt::format("domain {} has two projects named {}", project.domain.view(), project.name));
    }
    return true;
  });
  state.table<ProjectMember>().for_each([&](const ProjectMember& member) {
    if (state.find<Project>(member.project) == nullptr ||
        state.find<User>(member.user) == nullptr) {
      return complain(
          fmt::format("project member {}: there is no such project or user", member.id));
    }
    return true;
  });
  state.table<SessionGroup>().for_each([&](const SessionGroup& group) {
    const Project* project = state.find<Project>(group.project);
    if (project == nullptr || project->domain != group.domain) {
      return complain(fmt::format("session group {}: domain \"{}\" has no such project", group.id,
                                  group.domain.view()));
    }
    return state.find<User>(group.owner) != nullptr ||
           complain(fmt::format("session group {}: there is no such owner", group.id));
  });
  return status;
}

Status check_cluster(const State& state) {
  Status status;
  const auto complain = [&](std::string message) {
    status = invalid(std::move(message));
    return false;
  };
  state.table<SlotDeclaration>().for_each([&](const SlotDeclaration& slot) {
    return state.slot_types().type_of(slot.name) == slot.type ||
           complain(fmt::format("resource slot type {}: it is built in as {}, not {}", slot.name,
                                to_string(state.slot_types().type_of(slot.name)),
                                to_string(slot.type)));
  });
  std::size_t defaults = 0;
  state.table<ResourceGroup>().for_each([&](const ResourceGroup& group) {
    defaults += group.is_default ? 1 : 0;
    return defaults <= 1 || complain("two resource groups are the default");
  });
  state.table<ResourceGroupGrant>().for_each([&](const ResourceGroupGrant& grant) {
    return state.find<ResourceGroup>(grant.resource_group) != nullptr ||
           complain(fmt::format("grant {}: there is no such resource group", grant.id));
  });
  state.table<Agent>().for_each([&](const Agent& agent) {
    if (state.find<ResourceGroup>(agent.resource_group) == nullptr) {
      return complain(fmt::format("agent {}: there is no resource group \"{}\"", agent.id.view(),
                                  agent.resource_group.view()));
    }
    const std::string wrong = wrong_details(agent, state.slot_types());
    return wrong.empty() || complain(fmt::format("agent {}: {}", agent.id.view(), wrong));
  });
  std::set<std::pair<std::string, std::string>> images;
  state.table<Image>().for_each([&](const Image& image) {
    return images.emplace(image.canonical, image.architecture).second ||
           complain(fmt::format("two images are {} for {}", image.canonical, image.architecture));
  });
  return status;
}

}  // namespace

Result<LoadFixture::Result> handle(Context& ctx, const Caller&, const LoadFixture& action) {
  if (!action.document.is_object()) {
    return invalid(R"(A fixture is an object of tables: {"domains": [{...}], ...})");
  }
  core::drop_over_reservations(ctx);
  const std::size_t before = ctx.changes.checkpoint();
  LoadFixture::Result result;
  for (const auto& [table, rows] : action.document.members()) {
    const EntityInfo* info = find_entity(table);
    if (info == nullptr || !is_loadable(*info)) {
      std::string known;
      for (const EntityInfo* e : all_entities()) {
        if (is_loadable(*e)) known.append(known.empty() ? "" : ", ").append(e->table);
      }
      return invalid(fmt::format("There is no table \"{}\" to load; tables are {}", table, known));
    }
    if (!rows.is_array()) return invalid(fmt::format("{}: must be an array of rows", table));
    for (std::size_t i = 0; i < rows.items().size(); ++i) {
      if (auto ok = load_row(ctx, *info, rows.items()[i], result); !ok) {
        Error error = ok.error();
        error.message = fmt::format("{}[{}]: {}", table, i, error.message);
        return std::unexpected(std::move(error));
      }
    }
  }
  for (const auto check : {check_tenants, check_cluster}) {
    if (auto ok = check(ctx.state()); !ok) return std::unexpected(ok.error());
  }
  const auto loaded = ctx.changes.changes().subspan(before);
  if (auto ok = check_reservations(ctx.state(), loaded, ctx.now); !ok) {
    return std::unexpected(ok.error());
  }
  return result;
}

Result<ModifyAgent::Result> handle(Context& ctx, const Caller&, const ModifyAgent& action) {
  if (ctx.state().find<Agent>(action.id) == nullptr) {
    return fail(ErrorCode::NotFound, fmt::format("There is no agent \"{}\"", action.id.view()),
                "agent-not-found");
  }
  ctx.changes.update<Agent>(action.id, [&](Agent& agent) {
    if (action.schedulable) agent.schedulable = *action.schedulable;
  });
  return ModifyAgent::Result{};
}

}  // namespace bai::service
