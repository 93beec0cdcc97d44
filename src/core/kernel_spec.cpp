#include "core/kernel_spec.hpp"

#include <fmt/format.h>

namespace bai::core {

namespace {

std::map<std::string, std::string> text_map(const Json& object) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : object.members()) {
    out[key] = value.is_string() ? std::string(value.as_string()) : value.dump();
  }
  return out;
}

// The variables by which programs find out where they run.
std::map<std::string, std::string> make_environ(const State& state, const Session& session,
                                                const Kernel& kernel, const std::string& hosts,
                                                const std::string& replicas) {
  std::map<std::string, std::string> env = text_map(session.environ);
  const User* user = state.find<User>(session.user);
  std::string ports;
  for (const std::int64_t port : session.preopen_ports) {
    if (!ports.empty()) ports += ',';
    ports += std::to_string(port);
  }
  env["BACKENDAI_USER_UUID"] = to_string(session.user);
  env["BACKENDAI_USER_EMAIL"] = user ? user->email : "";
  env["BACKENDAI_USER_NAME"] = user ? user->username : "";
  env["BACKENDAI_SESSION_ID"] = to_string(session.id);
  env["BACKENDAI_SESSION_NAME"] = session.name;
  env["BACKENDAI_CLUSTER_SIZE"] = std::to_string(session.cluster_size);
  env["BACKENDAI_CLUSTER_REPLICAS"] = replicas;
  env["BACKENDAI_CLUSTER_HOSTS"] = hosts;
  env["BACKENDAI_ACCESS_KEY"] = session.access_key.str();
  env["BACKENDAI_PREOPEN_PORTS"] = ports;
  env["BACKENDAI_KERNEL_ID"] = to_string(kernel.id);
  env["BACKENDAI_KERNEL_IMAGE"] = kernel.image;
  env["BACKENDAI_CLUSTER_ROLE"] = kernel.cluster_role;
  env["BACKENDAI_CLUSTER_IDX"] = std::to_string(kernel.cluster_idx);
  env["BACKENDAI_CLUSTER_LOCAL_RANK"] = std::to_string(kernel.local_rank);
  env["BACKENDAI_CLUSTER_HOST"] = kernel.cluster_hostname;
  env["BACKENDAI_SERVICE_PORTS"] = "";
  return env;
}

}  // namespace

ImageSpec make_image_spec(const State& state, std::string_view canonical,
                          std::string_view architecture) {
  ImageSpec spec;
  spec.canonical = canonical;
  spec.architecture = architecture;
  state.table<Image>().for_each_in(index::kImageByCanonical,
                                   IndexPrefix{}.add(canonical).add(architecture).str(),
                                   [&](const Image& image) {
                                     spec.digest = image.digest;
                                     spec.registry = image.registry;
                                     spec.project = image.project;
                                     spec.is_local = image.is_local;
                                     spec.labels = text_map(image.labels);
                                     return false;
                                   });
  if (spec.registry.empty()) spec.registry = canonical.substr(0, canonical.find('/'));
  return spec;
}

CreateKernels make_create_request(const State& state, const Session& session,
                                  const std::vector<KernelId>& kernels) {
  CreateKernels request;
  request.session = session.id;
  request.cluster_mode = to_string(session.cluster_mode);
  request.cluster_size = session.cluster_size;
  std::string hosts, replicas;
  for (const auto& kernel : state.kernels_of(session.id)) {
    ++request.replicas[kernel->cluster_role];
    hosts += (hosts.empty() ? "" : ",") + kernel->cluster_hostname;
  }
  for (const auto& [role, count] : request.replicas) {
    replicas += fmt::format("{}{}:{}", replicas.empty() ? "" : ",", role, count);
  }
  if (session.cluster_size > 1 && session.cluster_mode == ClusterMode::SingleNode) {
    request.network_config =
        Json::object({{"mode", "bridge"},
                      {"network_name", fmt::format("bai-singlenode-{}", to_string(session.id))}});
  }
  for (const KernelId& id : kernels) {
    const Kernel& kernel = *state.find<Kernel>(id);
    KernelSpec spec;
    spec.id = id;
    spec.image = make_image_spec(state, kernel.image, kernel.architecture);
    spec.session_type = to_string(session.type);
    spec.cluster_mode = request.cluster_mode;
    spec.cluster_role = kernel.cluster_role;
    spec.cluster_idx = kernel.cluster_idx;
    spec.local_rank = kernel.local_rank;
    spec.cluster_hostname = kernel.cluster_hostname;
    spec.owner = session.user;
    for (const auto& [name, amount] : kernel.requested_slots) {
      if (amount.units == 0) continue;
      spec.slots[name] = format_amount(state.slot_types().type_of(name), amount);
    }
    spec.resource_opts = session.resource_opts;
    spec.environ = make_environ(state, session, kernel, hosts, replicas);
    spec.bootstrap_script = session.bootstrap_script;
    spec.startup_command = session.startup_command;
    spec.preopen_ports = session.preopen_ports;
    spec.agent_addr = kernel.agent_addr;
    spec.resource_group = session.resource_group.str();
    request.kernels.push_back(std::move(spec));
  }
  return request;
}

}  // namespace bai::core
