#include "model/state.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bai {

namespace {

// Applies `f(table<E>)` for every entity.
template <class Tuple, class F>
void for_each_table(Tuple& tables, F&& f) {
  std::apply([&](auto&... table) { (f(table), ...); }, tables);
}

}  // namespace

#define BAI_KEY_OF(E, member)                      \
  template <>                                      \
  const KeyOf<E>& Table<E>::key_of(const E& row) { \
    return row.member;                             \
  }
BAI_KEY_OF(Domain, name)
BAI_KEY_OF(Project, id)
BAI_KEY_OF(User, id)
BAI_KEY_OF(Keypair, access_key)
BAI_KEY_OF(KeypairPolicy, name)
BAI_KEY_OF(ProjectMember, id)
BAI_KEY_OF(ResourceGroup, name)
BAI_KEY_OF(ResourceGroupGrant, id)
BAI_KEY_OF(SlotDeclaration, name)
BAI_KEY_OF(Agent, id)
BAI_KEY_OF(Image, id)
BAI_KEY_OF(Session, id)
BAI_KEY_OF(Kernel, id)
BAI_KEY_OF(Usage, id)
BAI_KEY_OF(Operation, id)
BAI_KEY_OF(History, id)
BAI_KEY_OF(KernelLog, kernel)
BAI_KEY_OF(SessionGroup, id)
BAI_KEY_OF(Reservation, id)
BAI_KEY_OF(FairShare, id)
#undef BAI_KEY_OF

#define BAI_TABLE(E) template class Table<E>;
BAI_ENTITIES(BAI_TABLE)
#undef BAI_TABLE

State::~State() = default;

State::State() : slot_types_(std::make_shared<SlotTypes>()) {
  for_each_table(tables_, [this](AnyTable& table) { by_kind_.push_back(&table); });
}

State::State(State&& other) noexcept
    : version(other.version),
      tables_(std::move(other.tables_)),
      slot_types_(std::move(other.slot_types_)) {
  for_each_table(tables_, [this](AnyTable& table) { by_kind_.push_back(&table); });
}

State State::freeze() {
  State frozen;
  frozen.version = version;
  frozen.slot_types_ = slot_types_;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    ((std::get<I>(frozen.tables_) = std::get<I>(tables_).freeze()), ...);
  }(std::make_index_sequence<std::tuple_size_v<Tuple>>{});
  return frozen;
}

void State::restore(const State& frozen) {
  version = frozen.version;
  slot_types_ = frozen.slot_types_;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (std::get<I>(tables_).restore(std::get<I>(frozen.tables_)), ...);
  }(std::make_index_sequence<std::tuple_size_v<Tuple>>{});
}

const AnyTable& State::any_table(EntityKind kind) const {
  return *by_kind_[static_cast<std::size_t>(kind)];
}
AnyTable& State::writable(EntityKind kind) { return *by_kind_[static_cast<std::size_t>(kind)]; }

void State::put_row(EntityKind kind, RowPtr row) {
  writable(kind).put_row(std::move(row));
  if (kind == EntityKind::SlotDeclaration) refresh_slot_types();
}

void State::erase_row(EntityKind kind, const void* row) {
  writable(kind).erase_row(row);
  if (kind == EntityKind::SlotDeclaration) refresh_slot_types();
}

void State::refresh_slot_types() {
  auto types = std::make_shared<SlotTypes>();
  table<SlotDeclaration>().for_each([&](const SlotDeclaration& declared) {
    // A declaration that contradicts a built-in type was refused when it was reported.
    return types->add(declared.name, declared.type).has_value() || true;
  });
  slot_types_ = std::move(types);
}

std::vector<std::shared_ptr<const Kernel>> State::kernels_of(const SessionId& session) const {
  std::vector<std::shared_ptr<const Kernel>> kernels;
  table<Kernel>().for_each_in(index::kKernelBySession, IndexPrefix{}.add(to_string(session)).str(),
                              [&](const Kernel& kernel) {
                                kernels.push_back(table<Kernel>().share(kernel.id));
                                return true;
                              });
  return kernels;
}

std::vector<const Session*> State::live_members(std::string_view session_group) const {
  std::vector<const Session*> members;
  for (const std::string_view status : EnumText<SessionStatus>::names) {
    if (is_terminal(*parse_enum<SessionStatus>(status))) continue;
    table<Session>().for_each_in(index::kSessionByGroup,
                                 IndexPrefix{}.add(session_group).add(status).str(),
                                 [&](const Session& session) {
                                   members.push_back(&session);
                                   return true;
                                 });
  }
  std::ranges::sort(members, {}, [](const Session* session) { return session->id; });
  return members;
}

const Session* State::find_live_session(const AccessKey& owner, std::string_view name) const {
  const Session* found = nullptr;
  table<Session>().for_each_in(index::kSessionByOwnerName,
                               IndexPrefix{}.add(owner.view()).add(name).str(),
                               [&](const Session& session) {
                                 if (is_terminal(session.status)) return true;
                                 found = &session;
                                 return false;
                               });
  return found;
}

const Usage& State::usage(ScopeKind kind, std::string_view scope) const {
  static const Usage kNone;
  const Usage* usage = find<Usage>(usage_key(kind, scope));
  return usage ? *usage : kNone;
}

std::string usage_key(ScopeKind kind, std::string_view scope) {
  return fmt::format("{}/{}", to_string(kind), scope);
}

namespace {

// Volatile times are rebuilt differently after a restart.
bool is_compared(const FieldInfo& field) {
  if (!field.is(kVolatile)) return true;
  return field.type != FieldType::Time && field.name != "num_queries";
}

bool is_equal(const EntityInfo& info, const void* a, const void* b) {
  return std::ranges::all_of(info.fields, [&](const FieldInfo& field) {
    return !is_compared(field) || field.equal(a, b);
  });
}

std::string printed(const FieldInfo& field, const void* row) {
  static const SlotTypes kTypes;
  return row == nullptr ? "(none)" : field.get_json(row, kTypes).dump();
}

std::vector<RowPtr> rows_of(const State& state, EntityKind kind) {
  std::vector<RowPtr> rows;
  state.any_table(kind).for_each_row([&](const RowPtr& row) {
    rows.push_back(row);
    return true;
  });
  return rows;
}

}  // namespace

std::string row_difference(const EntityInfo& info, const void* a, const void* b) {
  if (a == b || (a != nullptr && b != nullptr && is_equal(info, a, b))) return {};
  std::string out = fmt::format("{}: {}:", info.name, printed(info.fields[0], a ? a : b));
  for (const FieldInfo& field : info.fields) {
    if (!is_compared(field) || (a != nullptr && b != nullptr && field.equal(a, b))) continue;
    fmt::format_to(std::back_inserter(out), " {} {} / {}", field.name, printed(field, a),
                   printed(field, b));
  }
  return out;
}

std::string first_difference(const State& a, const State& b) {
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    std::vector<RowPtr> left = rows_of(a, info->kind), right = rows_of(b, info->kind);
    const std::size_t size = std::max(left.size(), right.size());
    left.resize(size);
    right.resize(size);
    for (std::size_t i = 0; i < size; ++i) {
      auto difference = row_difference(*info, left[i].get(), right[i].get());
      if (!difference.empty()) return difference;
    }
  }
  return {};
}

}  // namespace bai
