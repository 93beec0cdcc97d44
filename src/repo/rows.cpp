#include "repo/rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/assert.hpp"
#include "repo/repo.hpp"

namespace bai::repo {

namespace {

constexpr std::uint16_t kNoTable = 0xffff;

// Which schema table each entity has, and which of its fields are columns.
struct Layout {
  std::array<std::uint16_t, 64> table{};
  std::uint16_t meta = 0;
  std::vector<std::vector<const FieldInfo*>> columns;  // by table

  Layout() {
    table.fill(kNoTable);
    for (const EntityInfo* info : all_entities()) {
      if (info->residence == Residence::Derived) continue;
      table[static_cast<std::size_t>(info->kind)] = meta++;
      auto& fields = columns.emplace_back();
      for (const FieldInfo& field : info->fields) {
        if (!field.is(kVolatile)) fields.push_back(&field);
      }
    }
  }
};

const Layout& layout() {
  static const Layout instance;
  return instance;
}

}  // namespace

std::uint16_t table_of(EntityKind kind) { return layout().table[static_cast<std::size_t>(kind)]; }
std::uint16_t meta_table() { return layout().meta; }

const std::vector<const FieldInfo*>& columns_of(const EntityInfo& info) {
  return layout().columns[table_of(info.kind)];
}

std::uint16_t column_of(const EntityInfo& info, std::string_view field) {
  const auto& fields = columns_of(info);
  const auto column = std::find(fields.begin(), fields.end(), info.find(field));
  BAI_ASSERT(column != fields.end(), "indexes and conditions are over stored fields");
  return static_cast<std::uint16_t>(column - fields.begin());
}

Result<std::shared_ptr<void>> decode(const EntityInfo& info, const Row& row) {
  const auto& fields = columns_of(info);
  if (row.size() != fields.size()) {
    return fail(ErrorCode::Corruption, fmt::format("table {}: a row has {} columns instead of {}",
                                                   info.table, row.size(), fields.size()));
  }
  auto entity = info.make();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (auto ok = fields[i]->set(entity.get(), row[i]); !ok) {
      const auto* key = std::get_if<std::string>(&row[0]);
      return fail(ErrorCode::Corruption,
                  fmt::format("table {}, row {}, column {}: {}", info.table, key ? *key : "?",
                              fields[i]->name, ok.error().message));
    }
  }
  return entity;
}

Condition where(const EntityInfo& info, std::string_view field, Compare op, Value value) {
  return {column_of(info, field), op, std::move(value)};
}

Status scan_all(Storage& storage, const EntityInfo& info, const TakeRow& take,
                std::vector<Condition> conditions, std::vector<OrderBy> order) {
  Scan scan;
  scan.table = table_of(info.kind);
  scan.conditions = std::move(conditions);
  scan.order = std::move(order);
  constexpr std::uint32_t kPage = 2000;
  scan.limit = kPage;
  for (;;) {
    auto page = storage.scan(scan);
    if (!page) return std::unexpected(page.error());
    for (const Record& record : *page) {
      auto entity = decode(info, record.row);
      if (!entity) return std::unexpected(entity.error());
      if (auto ok = take(std::move(*entity)); !ok) return ok;
    }
    if (page->size() < kPage) return {};
    Row after;
    for (const OrderBy& by : scan.order) after.push_back(page->back().row[by.column]);
    after.push_back(page->back().row[0]);
    scan.after = std::move(after);
  }
}

}  // namespace bai::repo
