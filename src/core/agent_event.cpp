// Agent events as JSON text. Unknown fields are ignored and absent ones with a default filled in,
// as on every consumer of this wire.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "bai_manager/agent.hpp"

namespace bai {
namespace {

__extension__ using Int128 = __int128;
using Pairs = std::vector<std::pair<std::string, std::string>>;

// ---- measured slots -----------------------------------------------------------------------------

constexpr int kSumDecimals = 9;  // exact for everything agents report (two or three decimals)

// Decimal text -> value * 10^9. Python's Decimal also writes "1E+3".
std::optional<Int128> parse_scaled(std::string_view text) {
  int exponent = kSumDecimals;
  if (const auto e = text.find_first_of("eE"); e != text.npos) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    int written = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), written);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    if (written < -18 || written > 18) return std::nullopt;
    exponent += written;
    text = text.substr(0, e);
  }
  constexpr Int128 kLargest = Int128{1} << 100;
  Int128 value = 0;
  bool after_point = false, any = false;
  for (const char c : text) {
    if (c == '.' && !after_point) {
      after_point = true;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    any = true;
    if (value >= kLargest) return std::nullopt;
    value = value * 10 + (c - '0');
    exponent -= after_point ? 1 : 0;
  }
  if (!any) return std::nullopt;
  for (; exponent > 0 && value != 0; --exponent) {
    if (value >= kLargest) return std::nullopt;
    value *= 10;
  }
  for (; exponent < 0 && value != 0; ++exponent) value /= 10;
  return value;
}

std::string format_scaled(Int128 value) {
  std::string digits;
  for (; value > 0; value /= 10)
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(value % 10)));
  while (digits.size() <= kSumDecimals) digits.insert(digits.begin(), '0');
  std::string whole = digits.substr(0, digits.size() - kSumDecimals);
  std::string fraction = digits.substr(whole.size());
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return fraction.empty() ? whole : whole + "." + fraction;
}

// ---- reading ------------------------------------------------------------------------------------

// Reads members of one payload; the first problem sticks.
class Fields {
 public:
  Fields(std::string_view event, Json payload) : event_(event), payload_(std::move(payload)) {}

  const Json& json() const noexcept { return payload_; }
  bool ok() const noexcept { return problem_.empty(); }
  void problem(std::string text) {
    if (ok()) problem_ = std::move(text);
  }
  std::unexpected<Error> failure() const {
    return fail(ErrorCode::InvalidArgument, fmt::format("Event `{}`: {}.", event_, problem_));
  }

  template <class Id>
  Id id(std::string_view key) {
    const Json& v = payload_[key];
    const auto parsed = v.is_string() ? parse_uuid<Id>(v.as_string()) : std::nullopt;
    if (!parsed) problem(fmt::format("`{}` must be a UUID", key));
    return parsed.value_or(Id{});
  }
  std::string text(std::string_view key) {
    if (!payload_[key].is_string()) problem(fmt::format("`{}` must be text", key));
    return std::string(payload_[key].as_string());
  }
  std::string text_or(std::string_view key, std::string_view fallback) {
    return payload_[key].is_null() ? std::string(fallback) : text(key);
  }
  std::int64_t integer_or(std::string_view key, std::int64_t fallback) {
    const Json& v = payload_[key];
    if (!v.is_null() && !v.is_int()) problem(fmt::format("`{}` must be an integer", key));
    return v.as_int(fallback);
  }

 private:
  std::string_view event_;
  Json payload_;
  std::string problem_;
};

std::string amount_text(const Json& value) {
  if (value.is_int()) return std::to_string(value.as_int());
  if (value.is_number()) return fmt::format("{}", value.as_double());
  return std::string(value.as_string());
}

AgentInfo read_info(Fields& event) {
  if (!event.json()["agent_info"].is_object()) {
    event.problem("`agent_info` must be an object");
    return {};
  }
  Fields f("agent_heartbeat", event.json()["agent_info"]);
  AgentInfo info;
  info.addr = f.text("addr");
  if (info.addr.empty()) f.problem("`addr` must not be empty");
  info.public_key = f.text_or("public_key", "");
  info.public_host = f.text_or("public_host", "");
  info.region = f.text_or("region", "");
  info.resource_group = f.text_or("scaling_group", "");
  info.architecture = f.text_or("architecture", "x86_64");
  info.version = f.text_or("version", "");
  const Json& slots = f.json()["available_resource_slots"];
  if (!slots.is_array()) f.problem("`available_resource_slots` must be a list");
  for (const Json& slot : slots.items()) {
    const std::string name(slot["resource_type"].as_string());
    const std::string amount = amount_text(slot["quantity"]);
    if (name.empty() || amount.empty())
      f.problem("each of `available_resource_slots` must have `resource_type` and `quantity`");
    info.slots.emplace_back(name, amount);
  }
  for (const auto& [name, type] : f.json()["slot_key_and_units"].members())
    info.slot_types.emplace_back(name, type.as_string());
  if (f.json()["compute_plugins"].is_object()) info.compute_plugins = f.json()["compute_plugins"];
  if (!f.ok())
    event.problem(fmt::format("`agent_info` is not usable: {}", f.failure().error().message));
  return info;
}

// {"units": {device: {unit: {"used": {slot: "decimal"}}}}} -> per-slot sums
Pairs sum_used(Fields& event, const Json& used_devices) {
  std::map<std::string, Int128> sums;
  for (const auto& [device, units] : used_devices["units"].members())
    for (const auto& [unit, detail] : units.members())
      for (const auto& [slot, amount] : detail["used"].members()) {
        const auto scaled = parse_scaled(amount_text(amount));
        if (!scaled) event.problem(fmt::format("the used amount of `{}` must be a decimal", slot));
        sums[slot] += scaled.value_or(0);
      }
  Pairs out;
  for (const auto& [slot, sum] : sums) out.emplace_back(slot, format_scaled(sum));
  return out;
}

AgentEventBody read_started(Fields& event) {
  KernelStarted e{event.id<KernelId>("kernel_id"),
                  event.id<SessionId>("session_id"),
                  {},
                  {},
                  0,
                  0,
                  Json::array(),
                  {}};
  const Json& info = event.json()["creation_info"];
  if (!info.is_object()) {
    event.problem("`creation_info` must be an object");
    return e;
  }
  Fields f("kernel_started", info);
  e.container_id = f.text_or("container_id", "");
  e.kernel_host = f.text_or("kernel_host", "");
  e.repl_in_port = f.integer_or("repl_in_port", 0);
  e.repl_out_port = f.integer_or("repl_out_port", 0);
  if (info["service_ports"].is_array()) e.service_ports = info["service_ports"];
  if (info["used_devices"].is_object()) e.used_slots = sum_used(f, info["used_devices"]);
  if (!f.ok())
    event.problem(fmt::format("`creation_info` is not usable: {}", f.failure().error().message));
  return e;
}

template <class Event>
AgentEventBody read_kernel(Fields& f) {
  return Event{f.id<KernelId>("kernel_id"), f.id<SessionId>("session_id")};
}
AgentEventBody read_terminated(Fields& f) {
  return KernelTerminated{f.id<KernelId>("kernel_id"), f.id<SessionId>("session_id"),
                          f.text_or("reason", "unknown"), f.integer_or("exit_code", -1),
                          f.text_or("log", "")};
}
AgentEventBody read_cancelled(Fields& f) {
  return KernelCancelled{f.id<KernelId>("kernel_id"), f.id<SessionId>("session_id"),
                         f.text_or("reason", "")};
}
template <bool success>
AgentEventBody read_batch(Fields& f) {
  return BatchFinished{f.id<SessionId>("session_id"), success, f.text_or("reason", "unknown"),
                       f.integer_or("exit_code", -1)};
}

using Reader = AgentEventBody (*)(Fields&);
constexpr std::pair<std::string_view, Reader> kReaders[] = {
    {"agent_started",
     [](Fields& f) -> AgentEventBody { return AgentStarted{f.text_or("reason", "")}; }},
    {"agent_terminated",
     [](Fields& f) -> AgentEventBody { return AgentTerminated{f.text_or("reason", "")}; }},
    {"agent_heartbeat", [](Fields& f) -> AgentEventBody { return AgentHeartbeat{read_info(f)}; }},
    {"image_pull_started",
     [](Fields& f) -> AgentEventBody { return ImagePullStarted{f.text("image")}; }},
    {"image_pull_finished",
     [](Fields& f) -> AgentEventBody { return ImagePullFinished{f.text("image")}; }},
    {"image_pull_failed",
     [](Fields& f) -> AgentEventBody {
       return ImagePullFailed{f.text("image"), f.text_or("msg", "")};
     }},
    {"kernel_preparing", read_kernel<KernelPreparing>},
    {"kernel_pulling", read_kernel<KernelPulling>},
    {"kernel_creating", read_kernel<KernelCreating>},
    {"kernel_started", read_started},
    {"kernel_terminated", read_terminated},
    {"kernel_cancelled", read_cancelled},
    {"session_success", read_batch<true>},
    {"session_failure", read_batch<false>},
};

// ---- writing ------------------------------------------------------------------------------------

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

template <class Event>
Json ids_of(const Event& e) {
  return Json::object({{"kernel_id", to_string(e.kernel)}, {"session_id", to_string(e.session)}});
}

template <class Event>
Json with_reason(const Event& e) {
  Json out = ids_of(e);
  out.set("reason", "");
  return out;
}

std::string host_of(std::string_view addr) {
  if (const auto scheme = addr.find("://"); scheme != addr.npos) addr.remove_prefix(scheme + 3);
  return std::string(addr.substr(0, addr.rfind(':')));
}

Json write_info(const AgentInfo& info) {
  Json slots = Json::array(), units = Json::object();
  for (const auto& [name, amount] : info.slots)
    slots.push_back(Json::object({{"resource_type", name}, {"quantity", amount}}));
  for (const auto& [name, type] : info.slot_types) units.set(name, type);
  return Json::object({{"ip", host_of(info.addr)},
                       {"region", text_or_null(info.region)},
                       {"scaling_group", text_or_null(info.resource_group)},
                       {"addr", info.addr},
                       {"public_key", text_or_null(info.public_key)},
                       {"public_host", info.public_host},
                       {"available_resource_slots", std::move(slots)},
                       {"slot_key_and_units", std::move(units)},
                       {"version", info.version},
                       {"compute_plugins", info.compute_plugins},
                       {"architecture", info.architecture},
                       {"auto_terminate_abusing_kernel", false}});
}

Json write_used(const Pairs& used_slots) {
  Json units = Json::object();
  for (const auto& [slot, amount] : used_slots) {
    const std::string device = slot.substr(0, slot.find('.'));
    if (units.find(device) == nullptr) units.set(device, Json::object());
    Json unit = Json::object({{"model_name", Json()},
                              {"used", Json::object({{slot, amount}})},
                              {"processing_units", Json()},
                              {"memory_size", Json()}});
    Json of_device = units[device];
    of_device.set(slot, std::move(unit));
    units.set(device, std::move(of_device));
  }
  return Json::object({{"units", std::move(units)}});
}

struct Writer {
  Json operator()(const AgentStarted& e) const { return Json::object({{"reason", e.reason}}); }
  Json operator()(const AgentTerminated& e) const { return Json::object({{"reason", e.reason}}); }
  Json operator()(const AgentHeartbeat& e) const {
    return Json::object({{"agent_info", write_info(e.info)}});
  }
  Json operator()(const ImagePullStarted& e) const { return Json::object({{"image", e.image}}); }
  Json operator()(const ImagePullFinished& e) const { return Json::object({{"image", e.image}}); }
  Json operator()(const ImagePullFailed& e) const {
    return Json::object({{"image", e.image}, {"msg", e.message}});
  }
  Json operator()(const KernelPreparing& e) const { return with_reason(e); }
  Json operator()(const KernelPulling& e) const { return with_reason(e); }
  Json operator()(const KernelCreating& e) const { return with_reason(e); }
  Json operator()(const KernelStarted& e) const {
    Json info = Json::object({{"container_id", e.container_id},
                              {"kernel_host", e.kernel_host},
                              {"repl_in_port", e.repl_in_port},
                              {"repl_out_port", e.repl_out_port},
                              {"service_ports", e.service_ports}});
    if (e.used_slots) info.set("used_devices", write_used(*e.used_slots));
    Json out = with_reason(e);
    out.set("creation_info", std::move(info));
    return out;
  }
  Json operator()(const KernelTerminated& e) const {
    Json out = ids_of(e);
    out.set("reason", e.reason);
    out.set("exit_code", e.exit_code);
    if (!e.log.empty()) out.set("log", e.log);
    return out;
  }
  Json operator()(const KernelCancelled& e) const {
    Json out = ids_of(e);
    out.set("reason", e.reason);
    return out;
  }
  Json operator()(const BatchFinished& e) const {
    return Json::object(
        {{"session_id", to_string(e.session)}, {"reason", e.reason}, {"exit_code", e.exit_code}});
  }
};

}  // namespace

Result<AgentEvent> parse_agent_event(std::string_view name, std::string_view source,
                                     std::string_view payload) {
  const auto* reader = std::find_if(std::begin(kReaders), std::end(kReaders),
                                    [&](const auto& r) { return r.first == name; });
  if (reader == std::end(kReaders))
    return fail(ErrorCode::Unsupported, "The manager does not act on an event of this name.");
  if (source.empty())
    return fail(ErrorCode::InvalidArgument, fmt::format("Event `{}`: it has no source.", name));
  auto json = Json::parse(payload);
  if (!json || !json->is_object())
    return fail(ErrorCode::InvalidArgument,
                fmt::format("Event `{}`: the payload must be a JSON object{}.", name,
                            json ? "" : " (" + json.error().message + ")"));
  Fields fields(reader->first, *std::move(json));
  AgentEvent event{AgentId(source), reader->second(fields)};
  if (!fields.ok()) return fields.failure();
  return event;
}

std::pair<std::string, std::string> format_agent_event(const AgentEventBody& body) {
  return {std::string(event_name(body)), std::visit(Writer{}, body).dump()};
}

}  // namespace bai
