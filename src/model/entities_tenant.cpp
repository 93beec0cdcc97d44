// Descriptions of who may use the cluster, and how much of it.
#include "model/describe.hpp"

namespace bai {

void describe(Describe<Domain>& d) {
  d.entity("domain", "domains");
  d.field<&Domain::name>("name", kKey | kImmutable);
  d.field<&Domain::description>("description");
  d.field<&Domain::is_active>("is_active");
  d.field<&Domain::total_resource_slots>("total_resource_slots");
  d.field<&Domain::created_at>("created_at", kImmutable);
}

void describe(Describe<Project>& d) {
  d.entity("project", "projects");
  d.field<&Project::id>("id", kKey | kImmutable);
  d.field<&Project::name>("name");
  d.field<&Project::domain>("domain_name", kImmutable);
  d.field<&Project::description>("description");
  d.field<&Project::is_active>("is_active");
  d.field<&Project::total_resource_slots>("total_resource_slots");
  d.field<&Project::cohort>("cohort");
  d.field<&Project::borrowing_limit>("borrowing_limit");
  d.field<&Project::created_at>("created_at", kImmutable);
  d.index("by_domain_name", {"domain_name", "name"}, true);
  d.index("by_cohort", {"cohort"});
}

void describe(Describe<User>& d) {
  d.entity("user", "users");
  d.field<&User::id>("uuid", kKey | kImmutable);
  d.field<&User::email>("email", kUnique);
  d.field<&User::username>("username", kUnique);
  d.field<&User::full_name>("full_name");
  d.field<&User::password_hash>("password", kSecret);
  d.field<&User::domain>("domain_name");
  d.field<&User::role>("role");
  d.field<&User::status>("status");
  d.field<&User::main_access_key>("main_access_key");
  d.field<&User::allowed_client_ip>("allowed_client_ip");
  d.field<&User::created_at>("created_at", kImmutable);
  d.index("by_email", {"email"}, true);
  d.index("by_username", {"username"}, true);
}

void describe(Describe<Keypair>& d) {
  d.entity("keypair", "keypairs");
  d.field<&Keypair::access_key>("access_key", kKey | kImmutable);
  d.field<&Keypair::secret_key>("secret_key", kSecret);
  d.field<&Keypair::user>("user");
  d.field<&Keypair::is_active>("is_active");
  d.field<&Keypair::is_admin>("is_admin");
  d.field<&Keypair::resource_policy>("resource_policy");
  d.field<&Keypair::rate_limit>("rate_limit");
  d.field<&Keypair::created_at>("created_at", kImmutable);
  d.index("by_user", {"user"});
}

void describe(Describe<KeypairPolicy>& d) {
  d.entity("keypair_resource_policy", "keypair_resource_policies");
  d.field<&KeypairPolicy::name>("name", kKey | kImmutable);
  d.field<&KeypairPolicy::default_for_unspecified>("default_for_unspecified");
  d.field<&KeypairPolicy::total_resource_slots>("total_resource_slots");
  d.field<&KeypairPolicy::max_concurrent_sessions>("max_concurrent_sessions");
  d.field<&KeypairPolicy::max_concurrent_sftp_sessions>("max_concurrent_sftp_sessions");
  d.field<&KeypairPolicy::max_containers_per_session>("max_containers_per_session");
  d.field<&KeypairPolicy::max_pending_session_count>("max_pending_session_count");
  d.field<&KeypairPolicy::max_pending_session_resource_slots>("max_pending_session_resource_slots");
  d.field<&KeypairPolicy::max_priority>("max_priority");
  d.field<&KeypairPolicy::max_session_lifetime_s>("max_session_lifetime");
  d.field<&KeypairPolicy::idle_timeout_s>("idle_timeout");
  d.field<&KeypairPolicy::created_at>("created_at", kImmutable);
}

void describe(Describe<ProjectMember>& d) {
  d.entity("project_member", "project_members");
  d.field<&ProjectMember::id>("id", kKey | kImmutable);
  d.field<&ProjectMember::project>("project", kImmutable);
  d.field<&ProjectMember::user>("user", kImmutable);
  d.index("by_user", {"user"});
}

}  // namespace bai
