// Descriptions of what runs, and what is remembered of it.
#include "model/describe.hpp"

namespace bai {

void describe(Describe<Session>& d) {
  d.entity("session", "sessions");
  d.field<&Session::id>("id", kKey | kImmutable);
  d.field<&Session::name>("name");
  d.field<&Session::type>("session_type", kImmutable);
  d.field<&Session::cluster_mode>("cluster_mode", kImmutable);
  d.field<&Session::cluster_size>("cluster_size", kImmutable);
  d.field<&Session::priority>("priority");
  d.field<&Session::job_priority>("job_priority");
  d.field<&Session::is_preemptible>("is_preemptible");
  d.field<&Session::domain>("domain_name", kImmutable);
  d.field<&Session::project>("project", kImmutable);
  d.field<&Session::user>("user", kImmutable);
  d.field<&Session::access_key>("access_key", kImmutable);
  d.field<&Session::resource_group>("resource_group", kImmutable);
  d.field<&Session::image>("image", kImmutable);
  d.field<&Session::architecture>("architecture", kImmutable);
  d.field<&Session::tag>("tag");
  d.field<&Session::session_group>("session_group", kImmutable);
  d.field<&Session::requested_slots>("requested_slots", kImmutable);
  d.field<&Session::resource_opts>("resource_opts", kImmutable);
  d.field<&Session::environ>("environ", kImmutable);
  d.field<&Session::designated_agents>("designated_agents", kImmutable);
  d.field<&Session::dependencies>("dependencies", kImmutable);
  d.field<&Session::startup_command>("startup_command", kImmutable);
  d.field<&Session::bootstrap_script>("bootstrap_script", kImmutable);
  d.field<&Session::callback_url>("callback_url", kImmutable);
  d.field<&Session::preopen_ports>("preopen_ports", kImmutable);
  d.field<&Session::batch_timeout>("batch_timeout", kImmutable);
  d.field<&Session::requested_starts_at>("requested_starts_at", kImmutable);
  d.field<&Session::status>("status");
  d.field<&Session::status_info>("status_info");
  d.field<&Session::status_data>("status_data");
  d.field<&Session::status_times>("status_history");
  d.field<&Session::result>("result");
  d.field<&Session::created_at>("created_at", kImmutable);
  d.field<&Session::starts_at>("starts_at");
  d.field<&Session::terminated_at>("terminated_at");
  d.field<&Session::deadline>("deadline");
  d.field<&Session::attempts>("attempts");
  d.field<&Session::retry_at>("retry_at");
  d.field<&Session::failed_agents>("failed_agents");
  d.field<&Session::batch_triggered>("batch_triggered");
  d.field<&Session::num_queries>("num_queries", kVolatile);
  d.field<&Session::last_access>("last_access", kVolatile);
  d.index("by_owner_name", {"access_key", "name"});
  d.index("by_status", {"status", "resource_group"});
  d.sparse_index("by_session_group", {"session_group", "status"});
}

void describe(Describe<SessionGroup>& d) {
  d.entity("session_group", "session_groups");
  d.field<&SessionGroup::id>("id", kKey | kImmutable);
  d.field<&SessionGroup::domain>("domain_name", kImmutable);
  d.field<&SessionGroup::project>("project", kImmutable);
  d.field<&SessionGroup::owner>("owner", kImmutable);
  d.field<&SessionGroup::direction>("placement_direction");
  d.field<&SessionGroup::enforcement>("placement_enforcement");
  d.field<&SessionGroup::created_at>("created_at", kImmutable);
}

void describe(Describe<Kernel>& d) {
  d.entity("kernel", "kernels");
  d.field<&Kernel::id>("id", kKey | kImmutable);
  d.field<&Kernel::session>("session_id", kImmutable);
  d.field<&Kernel::cluster_role>("cluster_role", kImmutable);
  d.field<&Kernel::cluster_idx>("cluster_idx", kImmutable);
  d.field<&Kernel::local_rank>("local_rank", kImmutable);
  d.field<&Kernel::cluster_hostname>("cluster_hostname", kImmutable);
  d.field<&Kernel::image>("image", kImmutable);
  d.field<&Kernel::architecture>("architecture", kImmutable);
  d.field<&Kernel::requested_slots>("requested_slots", kImmutable);
  d.field<&Kernel::occupied_slots>("occupied_slots");
  d.field<&Kernel::devices>("devices");
  d.field<&Kernel::agent>("agent");
  d.field<&Kernel::agent_addr>("agent_addr");
  d.field<&Kernel::container_id>("container_id");
  d.field<&Kernel::kernel_host>("kernel_host");
  d.field<&Kernel::repl_in_port>("repl_in_port");
  d.field<&Kernel::repl_out_port>("repl_out_port");
  d.field<&Kernel::service_ports>("service_ports");
  d.field<&Kernel::status>("status");
  d.field<&Kernel::status_info>("status_info");
  d.field<&Kernel::status_times>("status_history");
  d.field<&Kernel::exit_code>("exit_code");
  d.field<&Kernel::create_sent>("create_sent");
  d.field<&Kernel::created_at>("created_at", kImmutable);
  d.field<&Kernel::starts_at>("starts_at");
  d.field<&Kernel::terminated_at>("terminated_at");
  d.index("by_session", {"session_id", "local_rank"});
  d.index("by_agent", {"agent", "status"});
}

void describe(Describe<Operation>& d) {
  d.entity("operation", "operations");
  d.field<&Operation::id>("id", kKey | kImmutable);
  d.field<&Operation::kind>("kind", kImmutable);
  d.field<&Operation::step>("step");
  d.field<&Operation::status>("status");
  d.field<&Operation::subject>("subject", kImmutable);
  d.field<&Operation::attempts>("attempts");
  d.field<&Operation::deadline>("deadline");
  d.field<&Operation::retry_at>("retry_at");
  d.field<&Operation::created_at>("created_at", kImmutable);
  d.field<&Operation::finished_at>("finished_at");
  d.field<&Operation::progress>("progress");
  d.field<&Operation::total>("total");
  d.field<&Operation::message>("message");
  d.field<&Operation::arguments>("arguments", kImmutable);
  d.field<&Operation::result>("result");
  d.index("by_status", {"status"});
}

void describe(Describe<History>& d) {
  d.entity("scheduling_history", "session_scheduling_history", Residence::Cold);
  d.field<&History::id>("id", kKey | kImmutable);
  d.field<&History::subject>("session_id", kImmutable);
  d.field<&History::phase>("phase", kImmutable);
  d.field<&History::from_status>("from_status", kImmutable);
  d.field<&History::to_status>("to_status", kImmutable);
  d.field<&History::result>("result", kImmutable);
  d.field<&History::error_code>("error_code", kImmutable);
  d.field<&History::message>("message", kImmutable);
  d.field<&History::attempts>("attempts");
  d.field<&History::created_at>("created_at", kImmutable);
  d.field<&History::updated_at>("updated_at");
  d.index("by_session", {"session_id"});
}

void describe(Describe<KernelLog>& d) {
  d.entity("kernel_log", "kernel_logs", Residence::Cold);
  d.field<&KernelLog::kernel>("kernel_id", kKey | kImmutable);
  d.field<&KernelLog::text>("text", kImmutable);
  d.field<&KernelLog::stored_at>("stored_at", kImmutable);
}

}  // namespace bai
