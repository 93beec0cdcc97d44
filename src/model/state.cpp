#include "model/state.hpp"

#include <fmt/format.h>

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

// Fields of one row as comparable text; volatile times are rebuilt differently after a restart.
std::string printed(const EntityInfo& info, const void* row) {
  static const SlotTypes kTypes;
  std::string out;
  for (const FieldInfo& field : info.fields) {
    if (field.is(kVolatile) && field.type == FieldType::Time) continue;
    if (field.is(kVolatile) && field.name == "num_queries") continue;
    fmt::format_to(std::back_inserter(out), "{}={} ", field.name,
                   field.get_json(row, kTypes).dump());
  }
  return out;
}

}  // namespace

std::string first_difference(const State& a, const State& b) {
  for (const EntityInfo* info : all_entities()) {
    if (info->residence == Residence::Cold) continue;
    std::vector<std::string> left, right;
    a.any_table(info->kind).for_each_row([&](const RowPtr& row) {
      left.push_back(printed(*info, row.get()));
      return true;
    });
    b.any_table(info->kind).for_each_row([&](const RowPtr& row) {
      right.push_back(printed(*info, row.get()));
      return true;
    });
    for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      const std::string l = i < left.size() ? left[i] : "(none)";
      const std::string r = i < right.size() ? right[i] : "(none)";
      if (l != r) return fmt::format("{}:\n  {}\n  {}", info->name, l, r);
    }
  }
  return {};
}

}  // namespace bai
