// AgentRequest -> FUNCTION body, the manager's side.
#include <fmt/format.h>

#include "agent/codec.hpp"
#include "agent/msgpack_io.hpp"

namespace bai::server::wire {
namespace {

constexpr std::int64_t kIdleTimeoutSeconds = 600;  // what the reference manager sends; unused
constexpr int kExecuteApiVersion = 3;              // version 4 is sent as 3

template <class StringMap>
void pack_strings(Packer& p, const StringMap& map) {
  p.map(map.size());
  for (const auto& [key, value] : map) p.str(key).str(value);
}

void pack_seconds(Packer& p, const std::optional<Duration>& d) {
  if (d)
    p.real(d->seconds());
  else
    p.nil();
}

void pack_image(Packer& p, const ImageSpec& i) {
  p.map(9).str("canonical").str(i.canonical).str("project").str_or_nil(i.project);
  p.str("architecture").str(i.architecture).str("digest").str(i.digest).str("repo_digest").nil();
  p.str("registry").map(4).str("name").str(i.registry).str("url").str(i.registry_url);
  p.str("username").nil().str("password").nil();
  p.str("labels");
  pack_strings(p, i.labels);
  p.str("is_local").boolean(i.is_local).str("auto_pull").str(i.auto_pull);
}

void pack_kernel(Packer& p, const CreateKernels& c, const KernelSpec& k) {
  const std::string session = to_string(c.session);
  p.map(30).str("image");
  pack_image(p, k.image);
  p.str("kernel_id").str(to_string(k.id)).str("session_id").str(session);
  p.str("owner_user_id").str(to_string(k.owner)).str("owner_project_id").nil();
  p.str("network_id").str(session).str("session_type").str(k.session_type);
  p.str("cluster_mode").str(k.cluster_mode).str("cluster_role").str(k.cluster_role);
  p.str("cluster_idx").integer(k.cluster_idx).str("local_rank").integer(k.local_rank);
  p.str("cluster_hostname").str(k.cluster_hostname);
  p.str("uid").nil().str("main_gid").nil().str("supplementary_gids").array(0);
  p.str("resource_slots");
  pack_strings(p, k.slots);
  p.str("resource_opts").json(k.resource_opts.is_object() ? k.resource_opts : Json::object());
  p.str("environ");
  pack_strings(p, k.environ);
  p.str("mounts").array(0).str("package_directory").array(0);
  p.str("idle_timeout").integer(kIdleTimeoutSeconds);
  p.str("bootstrap_script").str_or_nil(k.bootstrap_script);
  p.str("startup_command").str_or_nil(k.startup_command);
  p.str("internal_data").map(0).str("auto_pull").str(k.image.auto_pull);
  p.str("preopen_ports").array(k.preopen_ports.size());
  for (const std::int64_t port : k.preopen_ports) p.integer(port);
  p.str("allocated_host_ports").array(0).str("agent_addr").str(k.agent_addr);
  p.str("scaling_group").str(k.resource_group).str("endpoint_id").nil();
}

void pack_cluster(Packer& p, const CreateKernels& c) {
  p.map(6).str("mode").str(c.cluster_mode).str("size").integer(c.cluster_size);
  p.str("replicas").map(c.replicas.size());
  for (const auto& [role, count] : c.replicas) p.str(role).integer(count);
  p.str("network_config").json(c.network_config.is_object() ? c.network_config : Json::object());
  p.str("ssh_keypair").nil().str("cluster_ssh_port_mapping").nil();
}

struct ArgPacker {
  Packer& p;

  void operator()(const CheckAndPull& r) const {
    p.array(1).map(r.images.size());
    for (const ImageSpec& image : r.images) {
      p.str(image.canonical);
      pack_image(p, image);
    }
  }
  void operator()(const CreateKernels& r) const {
    p.array(5).str(to_string(r.session)).array(r.kernels.size());
    for (const KernelSpec& k : r.kernels) p.str(to_string(k.id));
    p.array(r.kernels.size());
    for (const KernelSpec& k : r.kernels) pack_kernel(p, r, k);
    pack_cluster(p, r);
    p.map(r.kernels.size());
    for (const KernelSpec& k : r.kernels)
      p.ext(1, k.id.bytes).ext(7, pickle_image_ref(image_ref_of(k.image)));
  }
  void operator()(const DestroyKernel& r) const {
    p.array(3).str(to_string(r.kernel)).str(to_string(r.session)).str_or_nil(r.reason);
  }
  void operator()(const CheckCreating& r) const { p.array(1).str(to_string(r.kernel)); }
  void operator()(const CheckRunning& r) const { p.array(1).str(to_string(r.kernel)); }
  void operator()(const SyncKernelRegistry& r) const {
    p.array(1).array(r.kernels.size());
    for (const auto& [kernel, session] : r.kernels)
      p.array(2).str(to_string(kernel)).str(to_string(session));
  }
  void operator()(const TriggerBatch& r) const {
    p.array(4).str(to_string(r.session)).str(to_string(r.kernel)).str(r.command);
    pack_seconds(p, r.timeout);
  }
  void operator()(const Execute& r) const {
    p.array(8).str(to_string(r.session)).str(to_string(r.kernel)).integer(kExecuteApiVersion);
    p.str(r.run_id).str(r.mode).str(r.code).json(r.options);
    pack_seconds(p, r.flush_timeout);
  }
  void operator()(const InterruptKernel& r) const { p.array(1).str(to_string(r.kernel)); }
  void operator()(const GetCompletions& r) const {
    p.array(3).str(to_string(r.kernel)).str(r.text).json(r.options);
  }
  void operator()(const GetLogs& r) const { p.array(1).str(to_string(r.kernel)); }
  void operator()(const ListFiles& r) const { path(r.kernel, r.path); }
  void operator()(const UploadFile& r) const {
    p.array(3).str(to_string(r.kernel)).str(r.name).bin(r.data);
  }
  void operator()(const DownloadFile& r) const { path(r.kernel, r.path); }
  void operator()(const DownloadSingle& r) const { path(r.kernel, r.path); }
  void operator()(const PingAgent&) const { p.array(1).str("ping"); }

  void path(const KernelId& kernel, std::string_view text) const {
    p.array(2).str(to_string(kernel)).str(text);
  }
};

}  // namespace

Result<Bytes> encode_function(const AgentId& agent, const AgentRequest& request,
                              const Limits& limits) {
  const bool ping = std::holds_alternative<PingAgent>(request);  // the one without `agent_id`
  if (agent.empty() && !ping)
    return fail(ErrorCode::InvalidArgument,
                fmt::format("`{}` must name the agent that it is for.", request_name(request)));
  Packer p;
  p.map(2).str("args");
  std::visit(ArgPacker{p}, request);
  p.str("kwargs");
  const auto* destroy = std::get_if<DestroyKernel>(&request);
  p.map(ping ? 0 : destroy ? 2 : 1);
  if (!ping) p.str("agent_id").str(agent.view());
  if (destroy) p.str("suppress_events").boolean(destroy->suppress_events);
  if (p.failed())
    return fail(ErrorCode::InvalidArgument,
                fmt::format("The arguments of `{}` are nested too deeply.", request_name(request)));
  Packer outer;
  outer.map(2).str("meta").bin({}).str("body").bin(p.view());
  if (outer.view().size() > limits.max_frame_bytes)
    return fail(ErrorCode::InvalidArgument,
                fmt::format("The arguments of `{}` take {} bytes; at most {} fit in a message.",
                            request_name(request), outer.view().size(), limits.max_frame_bytes));
  return outer.take();
}

}  // namespace bai::server::wire
