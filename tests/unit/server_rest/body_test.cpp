#include <doctest/doctest.h>

#include "rest/create_request.hpp"
#include "rest/fields.hpp"
#include "rest/rate_limit.hpp"
#include "rest/search.hpp"

using namespace bai;
using namespace bai::server;

namespace {

const Timestamp kNow = parse_time("2026-08-01T12:00:00+00:00")->at;

Result<CreateRequest> create(std::string_view text) {
  const auto body = Json::parse(text);
  REQUIRE_MESSAGE(body.has_value(), text);
  return parse_create_request(*body, SlotTypes{}, kNow);
}
Error create_error(std::string_view text) {
  const auto request = create(text);
  REQUIRE_MESSAGE(!request.has_value(), text);
  CHECK(request.error().code == ErrorCode::InvalidArgument);
  return request.error();
}

}  // namespace

TEST_CASE("the body as the SDK sends it: nulls are absent") {
  const auto request = create(R"({"tag":null,"name":"mysess","config":{"mounts":[],"mount_ids":[],
    "environ":null,"resources":{"cpu":"1","mem":"1g"},"resource_opts":{},"scalingGroup":null,
    "attach_network":null,"mount_map":{},"mount_id_map":{},"mount_options":{},"preopen_ports":null},
    "dependencies":null,"callback_url":null,"architecture":"x86_64","clusterSize":1,
    "clusterMode":"single-node","starts_at":null,"bootstrap_script":null,"owner_access_key":null,
    "domain":"default","group":"default","type":"interactive","enqueueOnly":false,
    "maxWaitSeconds":0,"reuseIfExists":true,"startupCommand":null,
    "image":"cr.backend.ai/stable/python:3.9-ubuntu20.04"})");
  REQUIRE(request.has_value());
  const CreateSession& action = request->action;
  CHECK(action.name == "mysess");
  CHECK(action.image == "cr.backend.ai/stable/python:3.9-ubuntu20.04");
  CHECK(action.type == SessionType::Interactive);
  CHECK(action.slots.get("cpu").units == 1000);
  CHECK(action.slots.get("mem").units == 1LL << 30);
  CHECK(action.reuse);
  CHECK(action.priority == 10);
  CHECK_FALSE(action.resource_group.has_value());
  CHECK_FALSE(action.owner.has_value());
  CHECK_FALSE(request->enqueue_only);
  CHECK(request->max_wait == seconds(0));
}

TEST_CASE("every spelling of a name") {
  for (const char* name : {"session_name", "name", "clientSessionToken"}) {
    for (const char* image : {"image", "lang"}) {
      Json body = Json::object({{name, "s123"}, {image, "img"}});
      const auto request = parse_create_request(body, SlotTypes{}, kNow);
      REQUIRE(request.has_value());
      CHECK(request->action.name == "s123");
      CHECK(request->action.image == "img");
    }
  }
  for (const char* text : {R"({"name":"s123","image":"i","session_type":"BATCH","cluster_size":2,
            "cluster_mode":"MULTI_NODE","group_name":"g","domain_name":"d","arch":"aarch64",
            "enqueue_only":true,"max_wait_seconds":7,"startup_command":"ls","reuse":false,
            "bootstrap_script":"b","callback_url":"u","starts_at":"30m","batch_timeout":"5m",
            "config":{"scaling_group":"sg","resource_opts":{"shmem":"1m"},"preopen_ports":[80],
            "agent_list":["a1"]}})",
                           R"({"name":"s123","image":"i","sessionType":"batch","clusterSize":"2",
            "clusterMode":"multi-node","groupName":"g","domainName":"d","architecture":"aarch64",
            "enqueueOnly":"True","maxWaitSeconds":7.0,"startupCommand":"ls","reuseIfExists":0,
            "bootstrapScript":"b","callbackURL":"u","startsAt":"2026-08-01T12:30:00Z",
            "batchTimeout":300,
            "config":{"scalingGroup":"sg","resourceOpts":{"shmem":"1m"},"preopenPorts":["80"],
            "agentList":["a1"]}})"}) {
    const auto request = create(text);
    REQUIRE_MESSAGE(request.has_value(), text);
    const CreateSession& action = request->action;
    CHECK(action.type == SessionType::Batch);
    CHECK(action.cluster_size == 2);
    CHECK(action.cluster_mode == ClusterMode::MultiNode);
    CHECK(action.project == "g");
    CHECK(action.domain.view() == "d");
    CHECK(action.architecture == "aarch64");
    CHECK(request->enqueue_only);
    CHECK(request->max_wait == seconds(7));
    CHECK(action.startup_command == "ls");
    CHECK_FALSE(action.reuse);
    CHECK(action.bootstrap_script == "b");
    CHECK(action.callback_url == "u");
    CHECK(action.starts_at == kNow + seconds(1800));
    CHECK(action.batch_timeout == seconds(300));
    CHECK(action.resource_group == ResourceGroupName("sg"));
    CHECK(action.resource_opts["shmem"].as_string() == "1m");
    CHECK(action.preopen_ports == std::vector<std::int64_t>{80});
    CHECK(action.agents == std::vector<std::string>{"a1"});
    CHECK(request->names_agents);
  }
}

TEST_CASE("wrong types name their field as it was written, all at once") {
  const auto error = create_error(
      R"({"name":5,"lang":["x"],"clusterSize":"two","enqueueOnly":"perhaps","priority":101,
          "type":"fancy","dependencies":["x"]})");
  CHECK(error.kind == "body-invalid");
  CHECK(error.message ==
        "name: should be a string, is an integer; lang: should be a string, is an array; "
        "type: 'fancy' is none of interactive, batch, inference, system; "
        "clusterSize: should be an integer, is the string 'two'; "
        "enqueueOnly: should be true or false, is the string 'perhaps'; "
        "priority: 101 is more than 100; dependencies: 'x' is no session id");
}

TEST_CASE("kernels that differ, and a group of sessions") {
  const auto request = create(
      R"({"name":"gang","image":"i","clusterMode":"multi-node","config":{"session_group":"g1",
          "kernels":[{"resources":{"cpu":"1"}},{"resources":{"cpu":4,"mem":"2g"}}]}})");
  REQUIRE(request.has_value());
  CHECK(request->action.session_group == "g1");
  CHECK(request->action.cluster_size == 2);
  REQUIRE(request->action.kernel_slots.size() == 2);
  CHECK(request->action.kernel_slots[0].get("cpu").units == 1000);
  CHECK(request->action.kernel_slots[1].get("cpu").units == 4000);
  CHECK(request->action.kernel_slots[1].get("mem").units == 2LL << 30);
  const auto sized = create(R"({"name":"gang","image":"i","cluster_size":3,"config":{
                                "sessionGroup":null,"kernels":[{"resources":{}}]}})");
  REQUIRE(sized.has_value());
  CHECK(sized->action.cluster_size == 3);  // which the manager refuses
  const auto error = create_error(R"({"name":"gang","image":"i","config":{"session_group":5,
      "kernels":[{"resources":{"cpu":"much"}},{},5,{"resources":{"cpu":1}}]}})");
  CHECK(error.kind == "invalid-api-parameters");
  for (const char* part : {"kernels[0].resources: Invalid resource allocation",
                           "kernels[1].resources: should be an object",
                           "kernels[2].resources: should be an object", "session_group: should"}) {
    CHECK_MESSAGE(error.message.find(part) != std::string::npos, error.message);
  }
  CHECK(error.message.find("kernels[3]") == std::string::npos);
  CHECK(create_error(R"({"name":"gang","image":"i","config":{"kernels":2}})")
            .message.find("kernels: should be an array") != std::string::npos);
}

TEST_CASE("missing, empty and reserved names") {
  CHECK(create_error("{}").message == "session_name: is required; image: is required");
  CHECK(create_error(R"({"name":"","image":"i"})").message == "name: must not be empty");
  CHECK(create_error(R"({"name":"from-template","image":"i"})").message ==
        "session_name: is a reserved name");
  CHECK(create_error(R"({"name":"abcd","image":"i","cluster_size":0})").message ==
        "cluster_size: 0 is less than 1");
  CHECK(create_error(R"({"name":"abcd","image":"i","max_wait_seconds":-1})").message ==
        "max_wait_seconds: -1 is less than 0");
  CHECK(create_error(R"({"name":"abcd","image":"i","batch_timeout":-1})")
            .message.find("no duration") != std::string::npos);
  CHECK(create_error(R"({"name":"abcd","image":"i","starts_at":"whenever"})")
            .message.starts_with("starts_at: "));
  CHECK(create_error(R"({"name":"abcd","image":"i","config":[]})").message ==
        "config: should be an object");
}

TEST_CASE("a wrong config carries its text as data") {
  const auto check = [](std::string_view config, std::string_view wanted) {
    const auto error =
        create_error(R"({"name":"abcd","image":"i","config":)" + std::string(config) + "}");
    CAPTURE(error.message);
    CHECK(error.kind == "invalid-api-parameters");
    CHECK(error.message.starts_with("Input validation error: config."));
    REQUIRE(error.data.size() == 1);
    CHECK(error.data[0].first == "config");
    CHECK(error.data[0].second.find(wanted) != std::string::npos);
  };
  check(R"({"resources":{"bogus":"1"}})", "resources: Invalid resource allocation");
  check(R"({"resources":{"cpu":"-1"}})", "resources: Invalid resource allocation");
  check(R"({"resources":{"cpu":"-Infinity"}})", "resources: Invalid resource allocation");
  check(R"({"resources":{"mem":"-Infinity"}})", "resources: Invalid resource allocation");
  check(R"({"resources":{"cpu":"0.0001"}})", "resources: Invalid resource allocation");
  check(R"({"resources":[1]})", "resources: should be an object, is an array");
  check(R"({"environ":{"A":1}})", "environ.A: should be a string");
  check(R"({"mounts":["data"]})", "mounts: this server has no virtual folders");
  check(R"({"mountMap":{"data":"x"}})", "mountMap: this server has no virtual folders");
  check(R"({"mounts":"data"})", "mounts: this server has no virtual folders");
  check(R"({"mount_map":"x"})", "mount_map: this server has no virtual folders");
  check(R"({"mount_options":7})", "mount_options: this server has no virtual folders");
  check(R"({"mount_ids":false})", "mount_ids: this server has no virtual folders");
  check(R"({"attach_network":"x"})", "attach_network: ");
  check(R"({"preopen_ports":["x"]})", "preopen_ports: should be an array of integers");
}

TEST_CASE("durations") {
  CHECK(parse_duration("300").value() == seconds(300));
  CHECK(parse_duration("1.5h").value() == seconds(5400));
  CHECK(parse_duration("2d").value() == seconds(172'800));
  CHECK(parse_duration("1w").value() == seconds(604'800));
  CHECK(parse_duration("0").value() == seconds(0));
  for (const char* bad : {"", "h", "-1", "1mo", "1yr", "1 h", "nan", "inf", "1e300"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_duration(bad).has_value());
  }
}

TEST_CASE("request bodies") {
  http::Request request;
  CHECK(parse_body(request).error().kind == "body-malformed");
  CHECK(parse_body(request, true).value().is_object());
  for (const char* bad : {"{", "[]", "5", "nul", "{} {}", "\xff"}) {
    CAPTURE(bad);
    request.body = bad;
    const auto body = parse_body(request);
    REQUIRE_FALSE(body.has_value());
    CHECK(body.error().kind == "body-malformed");
    CHECK_FALSE(body.error().message.empty());
  }
  request.body = R"({"a":1})";
  CHECK(parse_body(request).value()["a"].as_int() == 1);
}

TEST_CASE("flags as people write them") {
  for (const char* yes : {"True", "true", "1", "yes", "ON", "t"}) CHECK(parse_flag(yes) == true);
  for (const char* no : {"False", "0", "no", "off", "N"}) CHECK(parse_flag(no) == false);
  CHECK_FALSE(parse_flag("maybe").has_value());
}

TEST_CASE("text filters") {
  const auto filter = [](std::string_view text) {
    const auto json = Json::parse(text);
    REQUIRE(json.has_value());
    static Json holder;
    holder = Json::object({{"f", *json}});
    Fields fields(holder);
    auto out = TextFilter::read(fields, {"f"});
    CHECK(fields.complaints().empty());
    return out;
  };
  CHECK(filter(R"("abc")").matches("abc"));
  CHECK_FALSE(filter(R"("abc")").matches("ABC"));
  CHECK(filter(R"({"i_equals":"aBc"})").matches("AbC"));
  CHECK(filter(R"({"contains":"b"})").matches("abc"));
  CHECK(filter(R"({"i_not_contains":"B"})").matches("xyz"));
  CHECK_FALSE(filter(R"({"i_not_contains":"B"})").matches("abc"));
  CHECK(filter(R"({"starts_with":"a","ends_with":"c"})").matches("abc"));
  CHECK_FALSE(filter(R"({"starts_with":"a","ends_with":"x"})").matches("abc"));
  CHECK(filter(R"({"not_starts_with":"x","equals":null})").matches("abc"));
  CHECK(filter(R"({"in":["a","b"]})").matches("b"));
  CHECK_FALSE(filter(R"({"not_in":["a","b"]})").matches("b"));
  const Json bad = Json::object({{"f", Json::object({{"regex", "x"}})}});
  Fields fields(bad);
  (void)TextFilter::read(fields, {"f"});
  CHECK(fields.complaints().starts_with("f: 'regex' is no condition"));
}

TEST_CASE("the rate window rolls") {
  RateLimiter limiter;
  const auto at = [](std::int64_t s) { return Timestamp{(1'000'000 + s) * 1'000'000'000}; };
  for (int i = 1; i <= 10; ++i) CHECK(limiter.hit("a", at(0)) == static_cast<std::uint64_t>(i));
  CHECK(limiter.hit("b", at(0)) == 1);
  CHECK(limiter.hit("a", at(600)) == 11);
  CHECK(limiter.hit("a", at(894)) == 12);
  CHECK(limiter.hit("a", at(900)) == 3);  // the ten of the start have left the window
  CHECK(limiter.hit("a", at(899)) == 4);  // a clock that goes back still counts
  CHECK(limiter.hit("a", at(5000)) == 1);
  CHECK(limiter.tracked() <= 2);
}
