// FUNCTION body -> AgentRequest, the agents' side.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "agent/codec.hpp"
#include "bai_manager/ids.hpp"

namespace bai::server::wire {
namespace {

// Reads positional arguments and config maps of one call. The first problem sticks; later reads
// return empty values, so that a reader is one straight sequence checked once at its end.
class Args {
 public:
  Args(std::string_view method, Value::Array args) : method_(method), args_(std::move(args)) {}

  bool ok() const noexcept { return !error_; }
  Error take_error() { return std::move(*error_); }
  void problem(std::string_view where, std::string_view what,
               std::string_view kind = "ValueError") {
    if (!error_)
      error_ = Error{ErrorCode::InvalidArgument,
                     fmt::format("{}: {} {}.", method_, where, what),
                     std::string(kind),
                     {}};
  }

  // A missing argument reads as null: optional ones are simply left out by some callers.
  Value& at(std::size_t i) { return i < args_.size() ? args_[i] : null_; }

  std::string text(const Value& v, std::string_view where) {
    if (const auto* s = v.get<std::string>()) return valid_utf8(*s);
    if (const auto* e = v.get<Value::Ext>()) {  // an id or an enumerator
      const Json plain = to_json(Value(Value::Any(*e)));
      if (plain.is_string()) return std::string(plain.as_string());
    }
    problem(where, "is not text", "TypeError");
    return {};
  }
  std::string text_or_empty(const Value& v, std::string_view where) {
    return v.is_null() ? std::string() : text(v, where);
  }
  template <class Id>
  Id id(const Value& v, std::string_view where) {
    const std::string s = text(v, where);
    const auto parsed = ok() ? parse_uuid<Id>(s) : std::nullopt;
    if (!parsed) problem(where, "is not a UUID");
    return parsed.value_or(Id{});
  }
  std::int64_t integer(const Value& v, std::string_view where) {
    if (const auto* n = v.get<std::int64_t>()) return *n;
    problem(where, "is not an integer", "TypeError");
    return 0;
  }
  std::optional<Duration> seconds_of(const Value& v, std::string_view where) {
    constexpr double kMaxSeconds = 9e9;  // fits Duration
    if (v.is_null()) return std::nullopt;
    double s = -1;
    if (const auto* d = v.get<double>())
      s = *d;
    else if (const auto* n = v.get<std::int64_t>())
      s = static_cast<double>(*n);
    if (s >= 0 && s <= kMaxSeconds) return Duration{std::llround(s * 1e3) * 1'000'000};
    problem(where, "is not a number of seconds");
    return std::nullopt;
  }
  const Value::Array& array(const Value& v, std::string_view where) {
    static const Value::Array empty;
    if (const auto* a = v.get<Value::Array>()) return *a;
    problem(where, "is not an array", "TypeError");
    return empty;
  }
  const Value::Map& map(const Value& v, std::string_view where) {
    static const Value::Map empty;
    if (const auto* m = v.get<Value::Map>()) return *m;
    problem(where, "is not a map", "TypeError");
    return empty;
  }
  Json object(const Value& v, std::string_view where) {
    map(v, where);
    return ok() ? to_json(v) : Json::object();
  }
  Json object_or_empty(const Value& v, std::string_view where) {
    return v.is_null() ? Json::object() : object(v, where);
  }
  std::map<std::string, std::string> strings(const Value& v, std::string_view where) {
    std::map<std::string, std::string> out;
    for (const auto& [key, value] : map(v, where))
      out.insert_or_assign(text(key, where), text(value, where));
    return out;
  }
  // A key that an agent indexes without asking: its absence is a KeyError.
  const Value& key(const Value& config, std::string_view name) {
    if (const Value* v = config.find(name)) return *v;
    problem(fmt::format("key '{}'", name), "is missing", "KeyError");
    return null_;
  }

 private:
  std::string_view method_;
  Value::Array args_;
  Value null_;
  std::optional<Error> error_;
};

ImageSpec read_image(Args& a, const Value& v) {
  ImageSpec i;
  a.map(v, "the image");
  i.canonical = a.text(a.key(v, "canonical"), "canonical");
  i.architecture = a.text_or_empty(a.key(v, "architecture"), "architecture");
  i.digest = a.text_or_empty(a.key(v, "digest"), "digest");
  const Value& registry = a.key(v, "registry");
  i.registry = a.text(a.key(registry, "name"), "registry.name");
  i.registry_url = a.text(a.key(registry, "url"), "registry.url");
  i.labels = a.strings(a.key(v, "labels"), "labels");
  if (const Value* p = v.find("project")) i.project = a.text_or_empty(*p, "project");
  if (const Value* p = v.find("is_local"))
    if (const auto* local = p->get<bool>()) i.is_local = *local;
  if (const Value* p = v.find("auto_pull")) i.auto_pull = a.text(*p, "auto_pull");
  return i;
}

void require_keys(Args& a, const Value& config) {
  for (const std::string_view name :
       {"allocated_host_ports", "agent_addr", "scaling_group", "resource_opts", "internal_data",
        "uid", "main_gid", "supplementary_gids", "network_id"})
    a.key(config, name);
}

KernelSpec read_kernel(Args& a, const Value& v, const KernelId& id) {
  KernelSpec k;
  k.id = id;
  a.map(v, "the kernel config");
  require_keys(a, v);
  k.image = read_image(a, a.key(v, "image"));
  k.session_type = a.text(a.key(v, "session_type"), "session_type");
  k.cluster_role = a.text(a.key(v, "cluster_role"), "cluster_role");
  k.slots = a.strings(a.key(v, "resource_slots"), "resource_slots");
  k.resource_opts = a.object(a.key(v, "resource_opts"), "resource_opts");
  k.environ = a.strings(a.key(v, "environ"), "environ");
  k.agent_addr = a.text_or_empty(a.key(v, "agent_addr"), "agent_addr");
  k.resource_group = a.text_or_empty(a.key(v, "scaling_group"), "scaling_group");
  const auto optional_text = [&](std::string_view name, std::string& out) {
    if (const Value* p = v.find(name)) out = a.text_or_empty(*p, name);
  };
  optional_text("cluster_mode", k.cluster_mode);
  optional_text("cluster_hostname", k.cluster_hostname);
  optional_text("bootstrap_script", k.bootstrap_script);
  optional_text("startup_command", k.startup_command);
  if (const Value* p = v.find("owner_user_id"); p && !p->is_null())
    k.owner = a.id<UserId>(*p, "owner_user_id");
  if (const Value* p = v.find("cluster_idx")) k.cluster_idx = a.integer(*p, "cluster_idx");
  if (const Value* p = v.find("local_rank")) k.local_rank = a.integer(*p, "local_rank");
  if (const Value* p = v.find("preopen_ports"); p && !p->is_null())
    for (const Value& port : a.array(*p, "preopen_ports"))
      k.preopen_ports.push_back(a.integer(port, "preopen_ports"));
  return k;
}

// The agent looks every kernel's reference up by UUID object: text keys do not match.
void check_image_refs(Args& a, const Value& refs, const std::vector<KernelSpec>& kernels) {
  std::map<std::array<std::uint8_t, 16>, const Value*> by_id;
  for (const auto& [key, value] : a.map(refs, "kernel_image_refs")) {
    const auto* id = key.get<Value::Ext>();
    if (id == nullptr || id->type != 1 || id->data.size() != 16) continue;
    std::array<std::uint8_t, 16> bytes{};
    std::copy(id->data.begin(), id->data.end(), bytes.begin());
    by_id[bytes] = &value;
  }
  for (const KernelSpec& k : kernels) {
    const auto found = by_id.find(k.id.bytes);
    if (found == by_id.end()) {
      a.problem("kernel_image_refs", "has no entry for " + to_string(k.id), "KeyError");
      continue;
    }
    const auto* ext = found->second->get<Value::Ext>();
    if (ext == nullptr || ext->type != 7) {
      a.problem("kernel_image_refs", "has a value that is no ImageRef", "AttributeError");
    } else if (auto ref = unpickle_image_ref(ext->data); !ref) {
      a.problem("kernel_image_refs", "cannot be read: " + ref.error().message, "UnpicklingError");
    }
  }
}

AgentRequest read_create(Args& a) {
  CreateKernels c;
  c.session = a.id<SessionId>(a.at(0), "session_id");
  const auto& ids = a.array(a.at(1), "kernel_ids");
  const auto& configs = a.array(a.at(2), "kernel_configs");
  if (a.ok() && ids.size() != configs.size())
    a.problem("kernel_configs",
              fmt::format("has {} entries for {} kernels", configs.size(), ids.size()));
  for (std::size_t i = 0; i < ids.size() && a.ok(); ++i)
    c.kernels.push_back(read_kernel(a, configs[i], a.id<KernelId>(ids[i], "kernel_ids")));
  const Value& cluster = a.at(3);
  c.cluster_mode = a.text(a.key(cluster, "mode"), "cluster_info.mode");
  c.cluster_size = a.integer(a.key(cluster, "size"), "cluster_info.size");
  for (const auto& [role, count] : a.map(a.key(cluster, "replicas"), "cluster_info.replicas"))
    c.replicas[a.text(role, "cluster_info.replicas")] = a.integer(count, "cluster_info.replicas");
  c.network_config = a.object_or_empty(a.key(cluster, "network_config"), "network_config");
  if (a.ok()) check_image_refs(a, a.at(4), c.kernels);
  return c;
}

AgentRequest read_pull(Args& a) {
  CheckAndPull r;
  for (const auto& [canonical, image] : a.map(a.at(0), "image_configs"))
    r.images.push_back(read_image(a, image));
  return r;
}

AgentRequest read_sync(Args& a) {
  SyncKernelRegistry r;
  for (const Value& pair : a.array(a.at(0), "the registry")) {
    const auto& two = a.array(pair, "the registry");
    if (two.size() != 2) a.problem("the registry", "has an entry that is no pair");
    if (!a.ok()) break;
    r.kernels.emplace_back(a.id<KernelId>(two[0], "kernel_id"),
                           a.id<SessionId>(two[1], "session_id"));
  }
  return r;
}

AgentRequest read_trigger(Args& a) {
  return TriggerBatch{a.id<SessionId>(a.at(0), "session_id"), a.id<KernelId>(a.at(1), "kernel_id"),
                      a.text_or_empty(a.at(2), "startup_command"),
                      a.seconds_of(a.at(3), "timeout")};
}

AgentRequest read_execute(Args& a) {
  Execute r;
  r.session = a.id<SessionId>(a.at(0), "session_id");
  r.kernel = a.id<KernelId>(a.at(1), "kernel_id");
  a.integer(a.at(2), "api_version");
  r.run_id = a.text_or_empty(a.at(3), "run_id");
  r.mode = a.text(a.at(4), "mode");
  r.code = a.text_or_empty(a.at(5), "code");
  r.options = a.object_or_empty(a.at(6), "opts");
  r.flush_timeout = a.seconds_of(a.at(7), "flush_timeout");
  return r;
}

AgentRequest read_upload(Args& a) {
  UploadFile r{a.id<KernelId>(a.at(0), "kernel_id"), a.text(a.at(1), "filename"), {}};
  if (auto* data = a.at(2).get<Bytes>())
    r.data = std::move(*data);
  else
    a.problem("filedata", "is not binary", "TypeError");
  return r;
}

template <class Request>
AgentRequest read_kernel_only(Args& a) {
  return Request{a.id<KernelId>(a.at(0), "kernel_id")};
}
template <class Request>
AgentRequest read_kernel_and_path(Args& a) {
  return Request{a.id<KernelId>(a.at(0), "kernel_id"), a.text(a.at(1), "path")};
}

AgentRequest read_destroy(Args& a) {
  return DestroyKernel{a.id<KernelId>(a.at(0), "kernel_id"), a.id<SessionId>(a.at(1), "session_id"),
                       a.text_or_empty(a.at(2), "reason"), false};
}

AgentRequest read_completions(Args& a) {
  return GetCompletions{a.id<KernelId>(a.at(0), "kernel_id"), a.text(a.at(1), "text"),
                        a.object_or_empty(a.at(2), "opts")};
}

using Reader = AgentRequest (*)(Args&);
constexpr std::pair<std::string_view, Reader> kReaders[] = {
    {"check_and_pull", read_pull},
    {"create_kernels", read_create},
    {"destroy_kernel", read_destroy},
    {"check_creating", read_kernel_only<CheckCreating>},
    {"check_running", read_kernel_only<CheckRunning>},
    {"sync_kernel_registry", read_sync},
    {"trigger_batch_execution", read_trigger},
    {"execute", read_execute},
    {"interrupt_kernel", read_kernel_only<InterruptKernel>},
    {"get_completions", read_completions},
    {"get_logs", read_kernel_only<GetLogs>},
    {"list_files", read_kernel_and_path<ListFiles>},
    {"upload_file", read_upload},
    {"download_file", read_kernel_and_path<DownloadFile>},
    {"download_single", read_kernel_and_path<DownloadSingle>},
    {"ping", [](Args&) -> AgentRequest { return PingAgent{}; }},
};

// {"meta": bin, "body": bin{ {"args": [...], "kwargs": {...}} }}
Result<Value> open_call(ByteView body, const Limits& limits) {
  auto outer = unpack(body, limits);
  if (!outer) return outer;
  const Value* inner = outer->find("body");
  const auto* bytes = inner ? inner->get<Bytes>() : nullptr;
  if (bytes == nullptr) return fail(ErrorCode::Corruption, "The call has no binary `body`.");
  return unpack(*bytes, limits);
}

}  // namespace

Result<Function> decode_function(const Header& header, ByteView body, const Limits& limits) {
  const auto* reader = std::find_if(std::begin(kReaders), std::end(kReaders),
                                    [&](const auto& r) { return r.first == header.method; });
  if (reader == std::end(kReaders))
    return fail(ErrorCode::Unsupported,
                fmt::format("This agent has no method `{}`.", valid_utf8(header.method)),
                "NotImplementedError");
  auto call = open_call(body, limits);
  if (!call) return std::unexpected(call.error());
  const Value *args = call->find("args"), *kwargs = call->find("kwargs");
  Args a(reader->first, {});
  if (args != nullptr) a = Args(reader->first, a.array(*args, "args"));
  Function out;
  out.request = reader->second(a);
  if (kwargs != nullptr && !kwargs->is_null()) {
    a.map(*kwargs, "kwargs");
    if (const Value* id = kwargs->find("agent_id"))
      out.agent = AgentId(a.text_or_empty(*id, "agent_id"));
    const Value* quiet = kwargs->find("suppress_events");
    if (auto* destroy = std::get_if<DestroyKernel>(&out.request); destroy && quiet)
      if (const auto* flag = quiet->get<bool>()) destroy->suppress_events = *flag;
  }
  if (!a.ok()) return std::unexpected(a.take_error());
  return out;
}

}  // namespace bai::server::wire
