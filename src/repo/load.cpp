// From storage into an empty state, without the archive; and cold questions.
#include "repo/repo.hpp"
#include "repo/rows.hpp"

namespace bai::repo {

namespace {

// Sessions that live, or have ended since `ended_before`.
Status load_recent(Storage& storage, State& into, Timestamp ended_before) {
  const EntityInfo& info = entity_info<Session>();
  const auto take = [&](std::shared_ptr<void> row) -> Status {
    into.put_row(EntityKind::Session, std::move(row));
    return {};
  };
  for (std::size_t i = 0; i < EnumText<SessionStatus>::names.size(); ++i) {
    const auto status = static_cast<SessionStatus>(i);
    std::vector<Condition> conditions{
        where(info, "status", Compare::Eq, std::string(to_string(status)))};
    if (is_terminal(status)) {
      conditions.push_back(where(info, "terminated_at", Compare::Ge, ended_before.ns));
    }
    // The order in which an index has them.
    auto ok = scan_all(storage, info, take, std::move(conditions),
                       {{column_of(info, "terminated_at"), false}});
    if (!ok) return ok;
  }
  return {};
}

// What live sessions wait for the success of, however long ago that was.
Status load_dependencies(Storage& storage, State& into) {
  std::vector<std::string> missing;
  into.table<Session>().for_each([&](const Session& session) {
    if (is_terminal(session.status)) return true;
    for (const std::string& on : session.dependencies) {
      const auto id = parse_uuid<SessionId>(on);
      if (id && into.find<Session>(*id) == nullptr) missing.push_back(on);
    }
    return true;
  });
  for (const std::string& id : missing) {
    const EntityInfo& info = entity_info<Session>();
    auto record = storage.get(table_of(info.kind), Value(id));
    if (!record) return std::unexpected(record.error());
    if (!*record) continue;
    auto row = decode(info, (*record)->row);
    if (!row) return std::unexpected(row.error());
    into.put_row(info.kind, std::move(*row));
  }
  return {};
}

Status load_kernels(Storage& storage, State& into, const SessionId& session) {
  const EntityInfo& info = entity_info<Kernel>();
  const auto take = [&](std::shared_ptr<void> row) -> Status {
    into.put_row(EntityKind::Kernel, std::move(row));
    return {};
  };
  return scan_all(storage, info, take, {where(info, "session_id", Compare::Eq, to_string(session))},
                  {{column_of(info, "local_rank"), false}});
}

// Why a session waits is not stored with it. Its last row of history says what has been written
// down, so that the same reason is not written again after every start.
Status recall_reason(Storage& storage, State& into, const Session& session) {
  const EntityInfo& info = entity_info<History>();
  Scan scan;
  scan.table = table_of(info.kind);
  scan.conditions.push_back(where(info, "session_id", Compare::Eq, to_string(session.id)));
  scan.order = {{column_of(info, "id"), true}};
  scan.limit = 1;
  const auto last = storage.scan(scan);
  if (!last) return std::unexpected(last.error());
  if (last->empty()) return {};
  const auto row = decode(info, last->front().row);
  if (!row) return std::unexpected(row.error());
  const auto& history = *static_cast<const History*>(row->get());
  const bool explains = history.to_status == to_string(SessionStatus::Pending) &&
                        history.from_status == history.to_status;
  if (!explains) return {};
  auto recalled = std::make_shared<Session>(session);
  recalled->pending_reason = std::make_shared<const PendingReason>(
      PendingReason{history.error_code, history.message, {}, 0});
  into.put_row(EntityKind::Session, std::move(recalled));
  return {};
}

Status load_sessions(Storage& storage, State& into, Timestamp ended_before) {
  if (auto ok = load_recent(storage, into, ended_before); !ok) return ok;
  if (auto ok = load_dependencies(storage, into); !ok) return ok;
  std::vector<SessionId> sessions;
  into.table<Session>().for_each([&](const Session& session) {
    sessions.push_back(session.id);
    return true;
  });
  for (const SessionId& id : sessions) {
    if (auto ok = load_kernels(storage, into, id); !ok) return ok;
    const Session& session = *into.find<Session>(id);
    if (session.status != SessionStatus::Pending) continue;
    if (auto ok = recall_reason(storage, into, session); !ok) return ok;
  }
  return {};
}

}  // namespace

Status load(Storage& storage, State& into, Timestamp ended_before) {
  for (const EntityInfo* info : all_entities()) {
    if (info->residence != Residence::Memory) continue;
    if (info->kind == EntityKind::Session || info->kind == EntityKind::Kernel) continue;
    auto ok = scan_all(storage, *info, [&](std::shared_ptr<void> row) -> Status {
      into.put_row(info->kind, std::move(row));
      return {};
    });
    if (!ok) return ok;
  }
  return load_sessions(storage, into, ended_before);
}

Result<std::vector<std::shared_ptr<const History>>> load_history(Storage& storage,
                                                                 const SessionId& session) {
  const EntityInfo& info = entity_info<History>();
  std::vector<std::shared_ptr<const History>> rows;
  auto ok = scan_all(storage, info,
                     [&](std::shared_ptr<void> row) -> Status {
                       rows.push_back(std::static_pointer_cast<const History>(row));
                       return {};
                     },
                     {where(info, "session_id", Compare::Eq, to_string(session))});
  if (!ok) return std::unexpected(ok.error());
  return rows;
}

Result<Timestamp> last_recorded(Storage& storage) {
  const EntityInfo& info = entity_info<History>();
  Scan scan;
  scan.table = table_of(info.kind);
  scan.order = {{column_of(info, "id"), true}};
  scan.limit = 1;
  const auto last = storage.scan(scan);
  if (!last) return std::unexpected(last.error());
  if (last->empty()) return Timestamp{};
  const auto row = decode(info, last->front().row);
  if (!row) return std::unexpected(row.error());
  return static_cast<const History*>(row->get())->created_at;
}

Result<std::string> load_kernel_log(Storage& storage, const KernelId& kernel) {
  auto record = storage.get(table_of(EntityKind::KernelLog), Value(to_string(kernel)));
  if (!record) return std::unexpected(record.error());
  if (!*record) return std::string();
  auto row = decode(entity_info<KernelLog>(), (*record)->row);
  if (!row) return std::unexpected(row.error());
  return std::static_pointer_cast<const KernelLog>(*row)->text;
}

}  // namespace bai::repo
