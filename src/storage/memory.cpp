// The reference backend: ordered maps under one lock.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "bai_manager/storage.hpp"
#include "storage/catalog.hpp"
#include "storage/migration.hpp"
#include "storage/predicate.hpp"

namespace bai {

namespace {

using storage::matches;
using storage::Predicate;

// (indexed values, key) of every row without a null among the indexed values: nulls never collide.
class UniqueIndex {
 public:
  explicit UniqueIndex(const IndexSpec& spec) : name_(spec.name), columns_(spec.columns) {}

  const std::string& name() const noexcept { return name_; }
  void add(const Row& row) {
    if (auto values = tuple(row)) entries_.emplace(std::move(*values), row.front());
  }
  void remove(const Row& row) {
    if (auto values = tuple(row)) entries_.erase({std::move(*values), row.front()});
  }
  bool collides(const Row& row) const {
    auto values = tuple(row);
    if (!values) return false;
    auto it = entries_.lower_bound({*values, Value{}});
    if (it == entries_.end()) return false;
    ++it;
    return it != entries_.end() && it->first == *values;
  }

 private:
  std::optional<Row> tuple(const Row& row) const {
    Row out;
    for (const std::uint16_t column : columns_) {
      if (row[column].index() == 0) return std::nullopt;
      out.push_back(row[column]);
    }
    return out;
  }

  std::string name_;
  std::vector<std::uint16_t> columns_;
  std::set<std::pair<Row, Value>> entries_;
};

struct Table {
  std::map<Value, Record> rows;
  std::vector<UniqueIndex> unique;

  Revision revision(const Value& key) const {
    const auto it = rows.find(key);
    return it == rows.end() ? 0 : it->second.revision;
  }
  // Sets or (nothing given) erases; returns what was there.
  std::optional<Record> replace(const Value& key, std::optional<Record> record) {
    std::optional<Record> before;
    if (const auto it = rows.find(key); it != rows.end()) {
      before = std::move(it->second);
      for (UniqueIndex& index : unique) index.remove(before->row);
      rows.erase(it);
    }
    if (record) {
      for (UniqueIndex& index : unique) index.add(record->row);
      rows.emplace(key, std::move(*record));
    }
    return before;
  }
};

// Compares the order columns and the key of two rows, or of a row with a position.
class RowOrder {
 public:
  explicit RowOrder(const Scan& scan) : order_(scan.order) {}

  bool operator()(const Record* a, const Record* b) const {
    for (const OrderBy& order : order_) {
      const Value& x = a->row[order.column];
      const Value& y = b->row[order.column];
      if (x != y) return order.descending ? y < x : x < y;
    }
    return a->row.front() < b->row.front();
  }
  bool is_behind(const Row& row, const Row& position) const {
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const Value& x = position[i];
      const Value& y = row[order_[i].column];
      if (x != y) return order_[i].descending ? y < x : x < y;
    }
    return position.back() < row.front();
  }

 private:
  const std::vector<OrderBy>& order_;
};

bool matches_all(const std::vector<Predicate>& predicates, const Row& row) {
  for (const Predicate& predicate : predicates) {
    if (!matches(predicate, row)) return false;
  }
  return true;
}

class MemoryStorage final : public Storage {
 public:
  Status open(const Schema& schema) override;
  Result<std::optional<Record>> get(std::uint16_t table, const Value& key) override;
  Result<std::vector<Record>> scan(const Scan& scan) override;
  Result<std::uint64_t> count(std::uint16_t table,
                              const std::vector<Condition>& conditions) override;
  Status commit(const WriteBatch& batch) override;
  std::string_view backend_name() const noexcept override { return "memory"; }

 private:
  struct Undo {
    std::uint16_t table = 0;
    Value key;
    std::optional<Record> before;
  };

  std::vector<Undo> apply(const std::vector<Write>& writes);
  Status check_unique(const std::vector<Undo>& done) const;
  Status migrate(const Schema& schema);

  mutable std::shared_mutex mutex_;
  Schema schema_{0, {}};           // what callers see
  std::vector<TableSpec> stored_;  // the same tables, then those that an earlier schema left behind
  std::vector<Table> tables_;      // as in stored_
};

// Rows keep what the new schema names, in its order; new columns get their fallback.
Table migrated(const TableSpec& before, Table rows, const TableSpec& after) {
  std::vector<std::optional<std::size_t>> source;
  for (const ColumnSpec& column : after.columns) {
    source.emplace_back();
    for (std::size_t i = 0; i < before.columns.size(); ++i) {
      if (before.columns[i].name == column.name) source.back() = i;
    }
  }
  Table out;
  for (auto& [key, record] : rows.rows) {
    Row row;
    for (std::size_t i = 0; i < source.size(); ++i) {
      row.push_back(source[i] ? record.row[*source[i]]
                              : storage::migration_value(after.columns[i]));
    }
    out.rows.emplace(key, Record{std::move(row), record.revision});
  }
  return out;
}

Status build_unique(const TableSpec& spec, Table& table) {
  for (const IndexSpec& index : spec.indexes) {
    if (!index.unique) continue;
    UniqueIndex& built = table.unique.emplace_back(index);
    for (const auto& [key, record] : table.rows) {
      built.add(record.row);
      if (built.collides(record.row)) return storage::unique_violation(spec, index.name);
    }
  }
  return {};
}

Status MemoryStorage::open(const Schema& schema) {
  if (auto ok = storage::check_schema(schema); !ok) return ok;
  const std::unique_lock lock(mutex_);
  return migrate(schema);
}

Status MemoryStorage::migrate(const Schema& schema) {
  const auto steps = storage::plan_migration(schema_.version, stored_, schema);
  if (!steps) return std::unexpected(steps.error());
  std::vector<TableSpec> specs = schema.tables;
  std::vector<Table> tables(specs.size());
  for (std::size_t old = 0; old < stored_.size(); ++old) {
    const TableSpec& before = stored_[old];
    std::size_t at = 0;
    while (at < schema.tables.size() && schema.tables[at].name != before.name) ++at;
    if (at == schema.tables.size()) {
      at = specs.size();
      specs.push_back(before);
      tables.emplace_back();
    }
    tables[at] = migrated(before, tables_[old], specs[at]);
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (auto ok = build_unique(specs[i], tables[i]); !ok) return ok;
  }
  schema_ = schema;
  stored_ = std::move(specs);
  tables_ = std::move(tables);
  return {};
}

Result<std::optional<Record>> MemoryStorage::get(std::uint16_t table, const Value& key) {
  const std::shared_lock lock(mutex_);
  const auto spec = storage::find_table(schema_, table);
  if (!spec) return std::unexpected(spec.error());
  if (auto ok = storage::check_key(**spec, key); !ok) return std::unexpected(ok.error());
  const auto it = tables_[table].rows.find(key);
  if (it == tables_[table].rows.end()) return std::nullopt;
  return it->second;
}

Result<std::vector<Record>> MemoryStorage::scan(const Scan& scan) {
  const std::shared_lock lock(mutex_);
  const auto spec = storage::find_table(schema_, scan.table);
  if (!spec) return std::unexpected(spec.error());
  if (auto ok = storage::check_order(**spec, scan); !ok) return std::unexpected(ok.error());
  const auto predicates = storage::make_predicates(**spec, scan.conditions);
  if (!predicates) return std::unexpected(predicates.error());

  const auto& rows = tables_[scan.table].rows;
  const RowOrder order(scan);
  std::vector<const Record*> found;
  // In key order the rows come out of the map as they are wanted.
  const bool by_key = scan.order.empty();
  auto it = by_key && scan.after ? rows.upper_bound(scan.after->back()) : rows.begin();
  for (; it != rows.end() && !(by_key && found.size() >= scan.limit); ++it) {
    if (!matches_all(*predicates, it->second.row)) continue;
    if (!by_key && scan.after && !order.is_behind(it->second.row, *scan.after)) continue;
    found.push_back(&it->second);
  }
  const std::size_t wanted = std::min<std::size_t>(found.size(), scan.limit);
  if (!by_key) {
    const auto middle = found.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::partial_sort(found.begin(), middle, found.end(), order);
  }
  std::vector<Record> out;
  out.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i) out.push_back(*found[i]);
  return out;
}

Result<std::uint64_t> MemoryStorage::count(std::uint16_t table,
                                           const std::vector<Condition>& conditions) {
  const std::shared_lock lock(mutex_);
  const auto spec = storage::find_table(schema_, table);
  if (!spec) return std::unexpected(spec.error());
  const auto predicates = storage::make_predicates(**spec, conditions);
  if (!predicates) return std::unexpected(predicates.error());
  std::uint64_t found = 0;
  for (const auto& [key, record] : tables_[table].rows) {
    if (matches_all(*predicates, record.row)) ++found;
  }
  return found;
}

std::vector<MemoryStorage::Undo> MemoryStorage::apply(const std::vector<Write>& writes) {
  std::vector<Undo> done;
  done.reserve(writes.size());
  for (const Write& write : writes) {
    if (const auto* erase = std::get_if<Erase>(&write)) {
      auto before = tables_[erase->table].replace(erase->key, std::nullopt);
      done.push_back({erase->table, erase->key, std::move(before)});
      continue;
    }
    const Put& put = std::get<Put>(write);
    const Value& key = put.row.front();
    Table& table = tables_[put.table];
    Record record{put.row, table.revision(key) + 1};
    auto before = table.replace(key, std::move(record));
    done.push_back({put.table, key, std::move(before)});
  }
  return done;
}

Status MemoryStorage::check_unique(const std::vector<Undo>& done) const {
  for (const Undo& change : done) {
    const Table& table = tables_[change.table];
    const auto it = table.rows.find(change.key);
    if (it == table.rows.end()) continue;
    for (const UniqueIndex& index : table.unique) {
      if (index.collides(it->second.row)) {
        return storage::unique_violation(schema_.tables[change.table], index.name());
      }
    }
  }
  return {};
}

Status MemoryStorage::commit(const WriteBatch& batch) {
  const std::unique_lock lock(mutex_);
  if (auto ok = storage::check_batch(schema_, batch); !ok) return ok;
  for (const Expect& expect : batch.expects) {
    const Revision found = tables_[expect.table].revision(expect.key);
    if (found != expect.revision) {
      return storage::revision_conflict(schema_.tables[expect.table], expect.key, expect.revision,
                                        found);
    }
  }
  std::vector<Undo> done = apply(batch.writes);
  Status unique = check_unique(done);
  if (!unique) {
    for (std::size_t i = done.size(); i-- > 0;) {
      tables_[done[i].table].replace(done[i].key, std::move(done[i].before));
    }
  }
  return unique;
}

}  // namespace

std::unique_ptr<Storage> make_memory_storage() { return std::make_unique<MemoryStorage>(); }

}  // namespace bai
