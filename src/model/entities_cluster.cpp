// Descriptions of what there is to run on.
#include "model/describe.hpp"

namespace bai {

void describe(Describe<ResourceGroup>& d) {
  d.entity("resource_group", "resource_groups");
  d.field<&ResourceGroup::name>("name", kKey | kImmutable);
  d.field<&ResourceGroup::description>("description");
  d.field<&ResourceGroup::is_active>("is_active");
  d.field<&ResourceGroup::is_default>("is_default");
  d.field<&ResourceGroup::scheduler>("scheduler");
  d.field<&ResourceGroup::selector>("agent_selection_strategy");
  d.field<&ResourceGroup::selector_priority>("agent_selection_resource_priority");
  d.field<&ResourceGroup::policy_options>("policy_options");
  d.field<&ResourceGroup::queue_discipline>("queue_discipline");
  d.field<&ResourceGroup::allowed_session_types>("allowed_session_types");
  d.field<&ResourceGroup::pending_timeout_s>("pending_timeout");
  d.field<&ResourceGroup::created_at>("created_at", kImmutable);
}

void describe(Describe<ResourceGroupGrant>& d) {
  d.entity("resource_group_grant", "resource_group_grants");
  d.field<&ResourceGroupGrant::id>("id", kKey | kImmutable);
  d.field<&ResourceGroupGrant::resource_group>("resource_group", kImmutable);
  d.field<&ResourceGroupGrant::scope_kind>("scope_kind", kImmutable);
  d.field<&ResourceGroupGrant::scope>("scope", kImmutable);
  d.index("by_scope", {"scope_kind", "scope", "resource_group"});
}

void describe(Describe<SlotDeclaration>& d) {
  d.entity("resource_slot_type", "resource_slot_types");
  d.field<&SlotDeclaration::name>("slot_name", kKey | kImmutable);
  d.field<&SlotDeclaration::type>("slot_type", kImmutable);
}

void describe(Describe<Agent>& d) {
  d.entity("agent", "agents");
  d.field<&Agent::id>("id", kKey | kImmutable);
  d.field<&Agent::resource_group>("resource_group");
  d.field<&Agent::status>("status");
  d.field<&Agent::schedulable>("schedulable");
  d.field<&Agent::addr>("addr");
  d.field<&Agent::public_key>("public_key");
  d.field<&Agent::public_host>("public_host");
  d.field<&Agent::region>("region");
  d.field<&Agent::architecture>("architecture");
  d.field<&Agent::version>("version");
  d.field<&Agent::available_slots>("available_slots");
  d.field<&Agent::compute_plugins>("compute_plugins");
  d.field<&Agent::labels>("labels");
  d.field<&Agent::devices>("devices");
  d.field<&Agent::first_contact>("first_contact", kImmutable);
  d.field<&Agent::lost_at>("lost_at");
  d.field<&Agent::occupied_slots>("occupied_slots", kVolatile);
  d.field<&Agent::prereserved_slots>("prereserved_slots", kVolatile);
  d.field<&Agent::kernel_count>("kernel_count", kVolatile);
  d.field<&Agent::last_seen>("last_seen", kVolatile);
  d.index("by_resource_group", {"resource_group"});
}

void describe(Describe<Reservation>& d) {
  d.entity("reservation", "reservations");
  d.field<&Reservation::id>("id", kKey | kImmutable);
  d.field<&Reservation::resource_group>("resource_group", kImmutable);
  d.field<&Reservation::name>("name", kImmutable);
  d.field<&Reservation::agents>("agents");
  d.field<&Reservation::owners>("owners");
  d.field<&Reservation::starts_at>("starts_at");
  d.field<&Reservation::ends_at>("ends_at");
  d.field<&Reservation::created_at>("created_at", kImmutable);
  d.index("by_resource_group", {"resource_group", "name"});
}

void describe(Describe<FairShare>& d) {
  d.entity("fair_share", "fair_shares");
  d.field<&FairShare::id>("id", kKey | kImmutable);
  d.field<&FairShare::resource_group>("resource_group", kImmutable);
  d.field<&FairShare::scope_kind>("scope_kind", kImmutable);
  d.field<&FairShare::scope>("scope", kImmutable);
  d.field<&FairShare::weight_milli>("weight_milli");
  d.field<&FairShare::buckets>("buckets");
}

void describe(Describe<Image>& d) {
  d.entity("image", "images");
  d.field<&Image::id>("id", kKey | kImmutable);
  d.field<&Image::canonical>("canonical");
  d.field<&Image::architecture>("architecture");
  d.field<&Image::registry>("registry");
  d.field<&Image::project>("project");
  d.field<&Image::digest>("digest");
  d.field<&Image::is_local>("is_local");
  d.field<&Image::aliases>("aliases");
  d.field<&Image::min_slots>("min_slots");
  d.field<&Image::labels>("labels");
  d.field<&Image::created_at>("created_at", kImmutable);
  d.index("by_canonical", {"canonical", "architecture"}, true);
}

void describe(Describe<Usage>& d) {
  d.entity("usage", "usages", Residence::Derived);
  d.field<&Usage::id>("id", kKey | kImmutable);
  d.field<&Usage::slots>("slots", kVolatile);
  d.field<&Usage::sessions>("sessions", kVolatile);
  d.field<&Usage::sftp_sessions>("sftp_sessions", kVolatile);
  d.field<&Usage::pending_sessions>("pending_sessions", kVolatile);
  d.field<&Usage::pending_slots>("pending_slots", kVolatile);
}

}  // namespace bai
