#include "model/changeset.hpp"

#include <fmt/format.h>

#include <map>
#include <unordered_map>

namespace bai {

void Changeset::record(EntityKind entity, RowPtr before, RowPtr after, bool is_volatile) {
  if (after) {
    state_.put_row(entity, after);
  } else {
    state_.erase_row(entity, before.get());
  }
  changes_.push_back({entity, std::move(before), std::move(after), is_volatile});
}

void Changeset::rollback(std::size_t to) {
  while (changes_.size() > to) {
    Change change = std::move(changes_.back());
    changes_.pop_back();
    if (entity_info(change.entity).residence == Residence::Cold) continue;
    if (change.before) {
      state_.put_row(change.entity, std::move(change.before));
    } else {
      state_.erase_row(change.entity, change.after.get());
    }
  }
}

std::vector<Change> coalesce(std::vector<Change> changes) {
  std::vector<Change> merged;
  merged.reserve(changes.size());
  // An edit continues an earlier one exactly when it starts from the row object that one made; an
  // insertion does when it brings back a key that was erased.
  std::unordered_map<const void*, std::size_t> made_by;
  std::map<std::pair<EntityKind, Value>, std::size_t> erased_by;
  const auto key_of = [](const Change& change, const RowPtr& row) {
    return std::pair(change.entity, entity_info(change.entity).fields[0].get(row.get()));
  };
  for (Change& change : changes) {
    std::size_t at = merged.size();
    const bool is_evicted = change.is_volatile && !change.after;
    if (is_evicted) {
      // What was edited before is to be stored all the same.
      made_by.erase(change.before.get());
      merged.push_back(std::move(change));
      continue;
    }
    if (change.before) {
      if (const auto earlier = made_by.find(change.before.get()); earlier != made_by.end()) {
        at = earlier->second;
        made_by.erase(earlier);
      }
    } else if (!erased_by.empty()) {
      if (auto node = erased_by.extract(key_of(change, change.after))) at = node.mapped();
    }
    if (!change.after) erased_by.insert_or_assign(key_of(change, change.before), at);
    if (at < merged.size()) {
      merged[at].after = std::move(change.after);
      merged[at].is_volatile = merged[at].is_volatile && change.is_volatile;
    } else {
      merged.push_back(std::move(change));
    }
    if (merged[at].after) made_by.emplace(merged[at].after.get(), at);
  }
  std::erase_if(merged, [](const Change& c) { return !c.before && !c.after; });
  return merged;
}

std::string print(std::span<const Change> changes, const SlotTypes& slots) {
  std::string out;
  auto line = std::back_inserter(out);
  for (const Change& change : changes) {
    const EntityInfo& info = entity_info(change.entity);
    const void* row = change.after ? change.after.get() : change.before.get();
    const std::string id =
        fmt::format("{} {}", info.name, info.fields[0].get_json(row, slots).dump());
    if (!change.after) {
      fmt::format_to(line, "{}: {}\n", id, change.is_volatile ? "evicted" : "erased");
      continue;
    }
    if (!change.before) fmt::format_to(line, "{}: inserted\n", id);
    const auto blank = change.before ? nullptr : info.make();
    const void* before = change.before ? change.before.get() : blank.get();
    for (std::size_t i = 1; i < info.fields.size(); ++i) {
      const FieldInfo& field = info.fields[i];
      if (field.is(kSecret)) continue;
      const Json was = field.get_json(before, slots), is = field.get_json(row, slots);
      if (was == is) continue;
      fmt::format_to(line, "{}: {} {} -> {}\n", id, field.name, was.dump(), is.dump());
    }
  }
  return out;
}

}  // namespace bai
