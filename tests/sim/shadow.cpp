#include "sim/shadow.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/accounting.hpp"
#include "forwarding_storage.hpp"
#include "repo/repo.hpp"
#include "repo/rows.hpp"

namespace bai::sim {
namespace {

constexpr std::size_t kEqualMax = 20'000;  // pairs that are remembered

const EntityInfo* entity_of(std::uint16_t table) {
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Memory && repo::table_of(info->kind) == table) return info;
  }
  return nullptr;  // it is not loaded at a start
}

// Sums on agents need their agents, and kernels their sessions.
int turn_of(EntityKind kind) {
  return kind == EntityKind::Kernel ? 2 : kind == EntityKind::Session ? 1 : 0;
}

}  // namespace

class Shadow::Watch final : public test::ForwardingStorage {
 public:
  Watch(Shadow& shadow, std::shared_ptr<Storage> inner)
      : ForwardingStorage(std::move(inner)), shadow_(shadow) {}

  Status commit(const WriteBatch& batch) override {
    Status status = ForwardingStorage::commit(batch);
    if (status && shadow_.read_back_) shadow_.read_back_ = shadow_.committed(inner(), batch);
    return status;
  }

 private:
  Shadow& shadow_;
};

std::shared_ptr<Storage> Shadow::watch(std::shared_ptr<Storage> rows) {
  return std::make_shared<Watch>(*this, std::move(rows));
}

Status Shadow::committed(Storage& rows, const WriteBatch& batch) {
  const auto version = repo::stored_version(rows);
  if (!version) return std::unexpected(version.error());
  Commit commit{version->version, {}};
  for (const Write& write : batch.writes) {
    const auto* put = std::get_if<Put>(&write);
    const std::uint16_t table = put ? put->table : std::get<Erase>(write).table;
    const EntityInfo* info = entity_of(table);
    if (!info) continue;
    const Value& key = put ? put->row.front() : std::get<Erase>(write).key;
    auto record = rows.get(table, key);
    if (!record) return std::unexpected(record.error());
    std::optional<Row> row;
    if (*record) row = std::move((*record)->row);
    commit.written.push_back({info->kind, key, std::move(row)});
  }
  std::ranges::stable_sort(commit.written, {},
                           [](const Written& written) { return turn_of(written.kind); });
  ahead_.push_back(std::move(commit));
  return {};
}

Status Shadow::follow(StateVersion version) {
  if (!read_back_) return read_back_;
  for (; !ahead_.empty() && ahead_.front().version <= version; ahead_.pop_front()) {
    for (const Written& written : ahead_.front().written) {
      if (auto ok = apply(written); !ok) return ok;
    }
  }
  changes_.take();
  return {};
}

Status Shadow::apply(const Written& written) {
  if (!written.row) {
    erase(written.kind, written.key);
    return {};
  }
  auto row = repo::decode(entity_info(written.kind), *written.row);
  if (!row) return std::unexpected(row.error());
  put(written.kind, std::move(*row));
  return {};
}

void Shadow::put(EntityKind kind, std::shared_ptr<void> row) {
  if (kind == EntityKind::Session) {
    Session& session = *static_cast<Session*>(row.get());
    if (!state_.find<Session>(session.id)) return core::insert_session(changes_, session);
    core::update_session(changes_, session.id, [&](Session& present) { present = session; });
  } else if (kind == EntityKind::Kernel) {
    Kernel& kernel = *static_cast<Kernel*>(row.get());
    if (!state_.find<Kernel>(kernel.id)) return core::insert_kernel(changes_, kernel);
    core::update_kernel(changes_, kernel.id, [&](Kernel& present) { present = kernel; });
  } else {
    if (kind == EntityKind::Agent) {  // what its kernels hold is not in its row
      Agent& agent = *static_cast<Agent*>(row.get());
      if (const Agent* present = state_.find<Agent>(agent.id)) {
        agent.occupied_slots = present->occupied_slots;
        agent.prereserved_slots = present->prereserved_slots;
        agent.kernel_count = present->kernel_count;
      }
    }
    state_.put_row(kind, std::move(row));
  }
}

void Shadow::erase(EntityKind kind, const Value& key) {
  const EntityInfo& info = entity_info(kind);
  RowPtr present;
  state_.any_table(kind).for_each_row([&](const RowPtr& row) {
    if (info.fields[0].get(row.get()) == key) present = row;
    return present == nullptr;
  });
  if (!present) return;
  if (kind != EntityKind::Kernel) return state_.erase_row(kind, present.get());
  core::erase_kernel(changes_, static_cast<const Kernel*>(present.get())->id);
}

std::string Shadow::first_difference(const State& running, Timestamp ended_before) {
  if (equal_.size() > kEqualMax) equal_.clear();
  forget_ended(running, ended_before);
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    if (auto difference = difference_in(info->kind, running); !difference.empty()) {
      return difference;
    }
  }
  return {};
}

void Shadow::forget_ended(const State& running, Timestamp ended_before) {
  if (running.table<Session>().size() == state_.table<Session>().size()) return;
  std::vector<SessionId> ended;
  state_.table<Session>().for_each([&](const Session& session) {
    const bool is_over = is_terminal(session.status) && session.terminated_at <= ended_before;
    if (is_over && !running.find<Session>(session.id)) ended.push_back(session.id);
    return true;
  });
  for (const SessionId& id : ended) {
    for (const auto& kernel : state_.kernels_of(id)) changes_.evict<Kernel>(kernel->id);
    changes_.evict<Session>(id);
  }
  changes_.take();
}

std::string Shadow::difference_in(EntityKind kind, const State& running) {
  std::vector<RowPtr> stored;
  state_.any_table(kind).for_each_row([&](const RowPtr& row) {
    stored.push_back(row);
    return true;
  });
  const EntityInfo& info = entity_info(kind);
  std::size_t at = 0;
  std::string difference;
  running.any_table(kind).for_each_row([&](const RowPtr& row) {
    const RowPtr there = at < stored.size() ? stored[at] : nullptr;
    ++at;
    Pair& known = equal_[row.get()];
    if (known.running && known.stored == there) return true;
    difference = row_difference(info, row.get(), there.get());
    known = {row, there};
    return difference.empty();
  });
  if (difference.empty() && at < stored.size()) {
    difference = row_difference(info, nullptr, stored[at].get());
  }
  return difference;
}

}  // namespace bai::sim
