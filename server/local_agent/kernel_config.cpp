#include "local_agent/kernel_config.hpp"

namespace bai::server::local {
namespace {

Json texts_to_json(const std::map<std::string, std::string>& texts) {
  Json json = Json::object();
  for (const auto& [name, value] : texts) json.set(name, value);
  return json;
}

std::map<std::string, std::string> texts_from_json(const Json& json) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : json.members()) texts[name] = value.as_string();
  return texts;
}

std::string text_of(const Json& json, std::string_view key) {
  return std::string(json[key].as_string());
}

}  // namespace

Json KernelConfig::to_json() const {
  return Json::object({{"kernelId", kernel_id},
                       {"sessionId", session_id},
                       {"sessionType", session_type},
                       {"image", image},
                       {"runtime", runtime == Runtime::Python ? "python" : "shell"},
                       {"interpreter", interpreter},
                       {"shell", shell},
                       {"environ", texts_to_json(environ)},
                       {"slots", texts_to_json(slots)},
                       {"bootstrapScript", bootstrap_script},
                       {"dataLimitBytes", data_limit_bytes},
                       {"maxLogBytes", max_log_bytes},
                       {"maxConsoleBytes", max_console_bytes},
                       {"termGraceMs", term_grace_ms}});
}

Result<KernelConfig> KernelConfig::from_json(const Json& json) {
  KernelConfig config;
  config.kernel_id = text_of(json, "kernelId");
  config.session_id = text_of(json, "sessionId");
  config.session_type = text_of(json, "sessionType");
  config.image = text_of(json, "image");
  const auto runtime = json["runtime"].as_string();
  config.runtime = runtime == "shell" ? Runtime::Shell : Runtime::Python;
  config.interpreter = text_of(json, "interpreter");
  config.shell = text_of(json, "shell");
  config.environ = texts_from_json(json["environ"]);
  config.slots = texts_from_json(json["slots"]);
  config.bootstrap_script = text_of(json, "bootstrapScript");
  config.data_limit_bytes = json["dataLimitBytes"].as_int();
  config.max_log_bytes = json["maxLogBytes"].as_int(config.max_log_bytes);
  config.max_console_bytes = json["maxConsoleBytes"].as_int(config.max_console_bytes);
  config.term_grace_ms = json["termGraceMs"].as_int(config.term_grace_ms);
  if (config.kernel_id.empty() || config.interpreter.empty() ||
      (runtime != "shell" && runtime != "python"))
    return fail(ErrorCode::Corruption,
                "kernel.json: kernelId, interpreter or runtime is missing or wrong");
  return config;
}

Json KernelState::to_json() const {
  Json json = Json::object({{"supervisorPid", supervisor_pid},
                            {"ended", ended},
                            {"reason", reason},
                            {"exitCode", exit_code}});
  if (batch)
    json.set("batch", Json::object({{"finished", batch->finished},
                                    {"success", batch->success},
                                    {"reason", batch->reason},
                                    {"exitCode", batch->exit_code}}));
  return json;
}

KernelState KernelState::from_json(const Json& json) {
  KernelState state;
  state.supervisor_pid = json["supervisorPid"].as_int();
  state.ended = json["ended"].as_bool();
  state.reason = text_of(json, "reason");
  state.exit_code = json["exitCode"].as_int(-1);
  if (const Json* batch = json.find("batch")) {
    state.batch = BatchState{(*batch)["finished"].as_bool(), (*batch)["success"].as_bool(),
                             text_of(*batch, "reason"), (*batch)["exitCode"].as_int(-1)};
  }
  return state;
}

}  // namespace bai::server::local
