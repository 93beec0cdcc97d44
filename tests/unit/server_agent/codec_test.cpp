#include "agent/codec.hpp"

#include "support.hpp"

namespace bai::server::wire {

using namespace test;

namespace {

ImageSpec python_image() {
  ImageSpec image;
  image.canonical = "cr.backend.ai/stable/python:3.9-ubuntu20.04";
  image.architecture = "x86_64";
  image.digest = "sha256:abc";
  image.registry = "cr.backend.ai";
  image.registry_url = "https://cr.backend.ai";
  image.project = "stable";
  image.labels = {{"ai.backend.role", "COMPUTE"}, {"ai.backend.kernelspec", "1"}};
  return image;
}

CreateKernels create_request() {
  KernelSpec k;
  k.id = kKernel;
  k.image = python_image();
  k.session_type = "interactive";
  k.cluster_mode = "single-node";
  k.cluster_role = "main";
  k.cluster_idx = 2;
  k.local_rank = 1;
  k.cluster_hostname = "main1";
  k.owner = id<UserId>("99999999-0000-0000-0000-000000000001");
  k.slots = {{"cpu", "2"}, {"mem", "1073741824"}};
  k.resource_opts = Json::object({{"shmem", "64m"}});
  k.environ = {{"LANG", "C.UTF-8"}, {"GREETING", "h\xC3\xA9llo"}};
  k.bootstrap_script = "echo hi";
  k.preopen_ports = {8080, 9090};
  k.agent_addr = "tcp://10.0.0.1:6001";
  k.resource_group = "default";
  KernelSpec second = k;
  second.id = id<KernelId>("11111111-2222-3333-4444-666666666666");
  second.cluster_role = "sub";
  second.image.is_local = true;
  second.bootstrap_script.clear();
  CreateKernels c;
  c.session = kSession;
  c.kernels = {k, second};
  c.cluster_mode = "single-node";
  c.cluster_size = 2;
  c.replicas = {{"main", 1}, {"sub", 1}};
  c.network_config = Json::object({{"mode", "bridge"}, {"network_name", "bai-singlenode-x"}});
  return c;
}

std::vector<AgentRequest> all_requests() {
  return {CheckAndPull{{python_image()}},
          create_request(),
          DestroyKernel{kKernel, kSession, "user-requested", true},
          CheckCreating{kKernel},
          CheckRunning{kKernel},
          SyncKernelRegistry{{{kKernel, kSession}, {kKernel, kSession}}},
          TriggerBatch{kSession, kKernel, "python main.py", seconds(90)},
          TriggerBatch{kSession, kKernel, "python main.py", std::nullopt},
          Execute{kSession, kKernel, "run-1", "query", "print(1)",
                  Json::object({{"clean", Json()}}), milliseconds(1500)},
          InterruptKernel{kKernel},
          GetCompletions{kKernel, "pri", Json::object({{"row", 1}})},
          GetLogs{kKernel},
          ListFiles{kKernel, "data"},
          UploadFile{kKernel, "a.bin", {0, 1, 2, 255}},
          DownloadFile{kKernel, "a.txt"},
          DownloadSingle{kKernel, "b.txt"},
          PingAgent{}};
}

Header function_header(const AgentRequest& request) {
  return {MessageType::Function, std::string(request_name(request)), {}, 7};
}

}  // namespace

TEST_CASE("the worked example of a ping call has exactly these bytes") {
  const Header header{MessageType::Function, "ping", {}, 0};
  CHECK(hex(encode_header(header)) ==
        hex(unhex("85 a4 74797065 01 a4 6d657468 a4 70696e67 a4 6f6b6579 c4 00 a3 736571 00 a3 "
                  "7a6970 c2")));
  CHECK(hex(*encode_function(AgentId("i-agent01"), PingAgent{})) ==
        hex(unhex("82 a4 6d657461 c4 00 a4 626f6479 c4 14 82 a4 61726773 91 a4 70696e67 a6 "
                  "6b7761726773 80")));
}

TEST_CASE("results, failures and cancels have the worked bytes and decode") {
  const Bytes result = unhex("82 a4 6d657461 c4 01 90 a4 626f6479 c4 05 a4 70696e67");
  CHECK(hex(*encode_result(Json("ping"))) == hex(result));
  CHECK(decode_result(result)->value == Json("ping"));

  const Bytes failure = unhex(
      "82 a4 6d657461 c4 22 93 a8 4b65794572726f72 ad 4b65794572726f7228277827 29 a9 "
      "5472616365626163 6b a4 626f6479 c0");
  CHECK(hex(encode_failure("KeyError", "x", "Traceback")) == hex(failure));
  const Error error = decode_failure(failure);
  CHECK(error.code == ErrorCode::Internal);
  CHECK(error.kind == "KeyError");
  CHECK(error.message == "x");
  REQUIRE(error.data.size() == 1);
  CHECK(error.data[0] == std::pair<std::string, std::string>("traceback", "Traceback"));

  CHECK(hex(encode_cancel()) == hex(unhex("82 a4 6d657461 c4 01 90 a4 626f6479 c0")));
}

TEST_CASE("an image reference is the 216 bytes that CPython writes") {
  const ImageRef ref = image_ref_of(python_image());
  const Bytes pickle = pickle_image_ref(ref);
  CHECK(pickle.size() == 216);
  CHECK(hex(pickle) ==
        "80026361692e6261636b656e642e636f6d6d6f6e2e646f636b65720a496d6167655265660a7100298171017d71"
        "022858040000006e616d6571035806000000707974686f6e7104580700000070726f6a65637471055806000000"
        "737461626c65710658030000007461677107580f000000332e392d7562756e747532302e303471085808000000"
        "72656769737472797109580d00000063722e6261636b656e642e6169710a580c00000061726368697465637475"
        "7265710b58060000007838365f3634710c580800000069735f6c6f63616c710d8975622e");
  CHECK(*unpickle_image_ref(pickle) == ref);
}

TEST_CASE("an image reference pickled by protocol 5 is read") {
  const Bytes protocol5 = unhex(
      "800595ab000000000000008c1861692e6261636b656e642e636f6d6d6f6e2e646f636b6572948c08496d616765"
      "5265669493942981947d94288c046e616d65948c06707974686f6e948c0770726f6a656374948c06737461626c"
      "65948c03746167948c0f332e392d7562756e747532302e3034948c087265676973747279948c0d63722e626163"
      "6b656e642e6169948c0c617263686974656374757265948c067838365f3634948c0869735f6c6f63616c948975"
      "622e");
  CHECK(*unpickle_image_ref(protocol5) == image_ref_of(python_image()));
}

TEST_CASE("an image without a project has None there") {
  ImageSpec image = python_image();
  image.canonical = "cr.backend.ai/python:1";
  image.project.clear();
  const ImageRef ref = image_ref_of(image);
  CHECK(ref.name == "python");
  CHECK(ref.tag == "1");
  const Bytes pickle = pickle_image_ref(ref);
  CHECK(hex(pickle).find(hex(bytes_of("project")) + "71054e58") != std::string::npos);
  CHECK(*unpickle_image_ref(pickle) == ref);
}

TEST_CASE("canonical names are taken apart at the right separators") {
  const auto parts = [](std::string canonical, std::string registry, std::string project) {
    ImageSpec image;
    image.canonical = std::move(canonical);
    image.registry = std::move(registry);
    image.project = std::move(project);
    const ImageRef ref = image_ref_of(image);
    return ref.name + "|" + ref.tag;
  };
  CHECK(parts("reg:5000/a/b:1", "reg:5000", "a") == "b|1");
  CHECK(parts("reg:5000/a/b", "reg:5000", "a") == "b|latest");
  CHECK(parts("reg:5000/a/b/c:2", "reg:5000", "a/b") == "c|2");
  CHECK(parts("python", "local", "") == "python|latest");
}

TEST_CASE("every request survives the wire") {
  for (const AgentRequest& request : all_requests()) {
    CAPTURE(request_name(request));
    const auto body = encode_function(AgentId("i-agent01"), request);
    REQUIRE(body);
    const auto decoded = decode_function(function_header(request), *body);
    REQUIRE_MESSAGE(decoded, (decoded ? "" : decoded.error().message));
    CHECK(decoded->request.index() == request.index());
    const bool is_ping = std::holds_alternative<PingAgent>(request);
    CHECK(decoded->agent == AgentId(is_ping ? "" : "i-agent01"));
    // Nothing was lost: the decoded request encodes to the same bytes.
    CHECK(hex(*encode_function(AgentId("i-agent01"), decoded->request)) == hex(*body));
  }
}

TEST_CASE("create_kernels carries what an agent indexes without asking") {
  const auto body = encode_function(AgentId("i-agent01"), create_request());
  const auto outer = unpack(*body, {});
  REQUIRE(outer);
  const auto call = unpack(*outer->find("body")->get<Bytes>(), {});
  REQUIRE(call);
  CHECK(*call->find("kwargs")->find("agent_id")->get<std::string>() == "i-agent01");
  const auto& args = *call->find("args")->get<Value::Array>();
  REQUIRE(args.size() == 5);
  CHECK(*args[0].get<std::string>() == to_string(kSession));
  const Value& config = args[2].get<Value::Array>()->at(0);
  for (const char* key : {"image",
                          "kernel_id",
                          "session_id",
                          "owner_user_id",
                          "owner_project_id",
                          "network_id",
                          "session_type",
                          "cluster_mode",
                          "cluster_role",
                          "cluster_idx",
                          "local_rank",
                          "cluster_hostname",
                          "uid",
                          "main_gid",
                          "supplementary_gids",
                          "resource_slots",
                          "resource_opts",
                          "environ",
                          "mounts",
                          "package_directory",
                          "idle_timeout",
                          "bootstrap_script",
                          "startup_command",
                          "internal_data",
                          "auto_pull",
                          "preopen_ports",
                          "allocated_host_ports",
                          "agent_addr",
                          "scaling_group",
                          "endpoint_id"}) {
    CAPTURE(key);
    CHECK(config.find(key) != nullptr);
  }
  CHECK(config.get<Value::Map>()->size() == 30);
  for (const char* key : {"canonical", "project", "architecture", "digest", "repo_digest",
                          "registry", "labels", "is_local", "auto_pull"})
    CHECK(config.find("image")->find(key) != nullptr);
  for (const char* key :
       {"mode", "size", "replicas", "network_config", "ssh_keypair", "cluster_ssh_port_mapping"})
    CHECK(args[3].find(key) != nullptr);
  // The references are keyed by extension 1 and hold extension 7.
  const auto& refs = *args[4].get<Value::Map>();
  REQUIRE(refs.size() == 2);
  CHECK(refs[0].first.get<Value::Ext>()->type == 1);
  CHECK(hex(refs[0].first.get<Value::Ext>()->data) == "11111111222233334444555555555555");
  CHECK(refs[0].second.get<Value::Ext>()->type == 7);
  CHECK(refs[0].second.get<Value::Ext>()->data.size() == 216);
  CHECK(unpickle_image_ref(refs[1].second.get<Value::Ext>()->data)->is_local);
  // As in the worked example: map of one or two, fixext16, ext8 of 216 bytes.
  CHECK(hex(*body).find("d80111111111222233334444555555555555c7d80780026361692e") !=
        std::string::npos);
}

TEST_CASE("a config without a mandatory key is a KeyError") {
  const auto whole = encode_function(AgentId("a"), create_request());
  for (const std::string key : {"allocated_host_ports", "scaling_group", "internal_data", "uid"}) {
    Bytes bytes = *whole;
    const auto at = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
    REQUIRE(at != bytes.end());
    *at = 'X';
    const auto decoded = decode_function(function_header(create_request()), bytes);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code == ErrorCode::InvalidArgument);
    CHECK(decoded.error().kind == "KeyError");
    CHECK(decoded.error().message.find(key) != std::string::npos);
  }
}

TEST_CASE("image references under text keys or with a foreign pickle are refused") {
  Bytes text_key = *encode_function(AgentId("a"), create_request());
  const Bytes head = unhex("d801 11111111222233334444555555555555 c7d807");
  auto at = std::search(text_key.begin(), text_key.end(), head.begin(), head.end());
  REQUIRE(at != text_key.end());
  at[1] = 5;  // some other extension
  CHECK(decode_function(function_header(create_request()), text_key).error().kind == "KeyError");
  Bytes foreign = *encode_function(AgentId("a"), create_request());
  const std::string name = "ImageRef";
  at = std::search(foreign.begin(), foreign.end(), name.begin(), name.end());
  *at = 'X';
  CHECK(decode_function(function_header(create_request()), foreign).error().kind ==
        "UnpicklingError");
}

TEST_CASE("headers: both forms of the ordering key, and what is refused") {
  for (const Header& h : {Header{MessageType::Cancelled, "execute", {"k", true}, 4294967295U},
                          Header{MessageType::Failure, "m", {std::string("\0\xff", 2), false}, 1}})
    CHECK(*decode_header(encode_header(h)) == h);
  const auto with = [](std::string_view patch_from, std::string_view patch_to) {
    std::string text = hex(encode_header({MessageType::Function, "ping", {}, 0}));
    const auto at = text.find(patch_from);
    REQUIRE(at != std::string::npos);
    return decode_header(unhex(text.replace(at, patch_from.size(), patch_to)));
  };
  CHECK(with("7a6970c2", "7a6970c3").error().code == ErrorCode::Unsupported);  // zip
  CHECK(with("7479706501", "7479706507").error().code == ErrorCode::Corruption);
  CHECK(with("73657100", "736571ff").error().code == ErrorCode::Corruption);  // seq -1
  CHECK(with("6f6b6579c400", "6f6b6579c0").error().code == ErrorCode::Corruption);
  CHECK_FALSE(decode_header({}));
  CHECK_FALSE(decode_header(unhex("90")));
  CHECK_FALSE(decode_header(Bytes(5000, 0xc0)));
}

TEST_CASE("results with bytes, extensions and odd keys are readable") {
  CHECK(decode_result(encode_result_bytes(Bytes{1, 2, 3}))->data == Bytes{1, 2, 3});
  const auto inner = [](std::string_view h) {
    const Bytes payload = unhex(h);
    Bytes out = unhex("82 a4 6d657461 c4 01 90 a4 626f6479 c5");
    out.push_back(static_cast<std::uint8_t>(payload.size() >> 8));
    out.push_back(static_cast<std::uint8_t>(payload.size()));
    out.insert(out.end(), payload.begin(), payload.end());
    return decode_result(out);
  };
  CHECK(inner("d801 11111111222233334444555555555555")->value == Json(to_string(kKernel)));
  CHECK(inner("d42a 00")->value == Json());                   // unknown extension
  CHECK(inner("92 d401 00 01")->value.dump() == "[null,1]");  // a uuid of one byte
  CHECK(inner("81 01 c3")->value.dump() == R"({"1":true})");  // a key that is a number
  CHECK(inner("a2 ff41")->value == Json("\xEF\xBF\xBD"
                                        "A"));                    // not UTF-8
  CHECK(inner("cf ffffffffffffffff")->value.as_double() > 1e19);  // beyond int64
  // decimal.Decimal('1.5'), protocol 5
  CHECK(inner("c7 2c03 80059521000000000000008c07646563696d616c948c07446563696d616c9493948c03312e35"
              "94859452942e")
            ->value == Json("1.5"));
  CHECK(decode_result(encode_cancel())->value == Json());  // no body: null
}

TEST_CASE("limits: size, depth, number of elements and members") {
  Limits tight;
  tight.max_frame_bytes = 100;
  CHECK(unpack(Bytes(101, 0xc0), tight).error().message.find("at most 100") != std::string::npos);
  Limits limits;
  Bytes deep(static_cast<std::size_t>(limits.max_depth), 0x91);
  deep.push_back(0xc0);
  CHECK(unpack(deep, limits));
  deep.insert(deep.begin(), 0x91);
  CHECK(unpack(deep, limits).error().message.find("nested deeper than 64") != std::string::npos);
  limits.max_elements = 10;
  CHECK(unpack(unhex("99 c0c0c0c0c0c0c0c0c0"), limits));
  CHECK(unpack(unhex("9a c0c0c0c0c0c0c0c0c0c0"), limits).error().message.find("more than 10") !=
        std::string::npos);
  limits.max_map_members = 1;
  CHECK(unpack(unhex("81 01 01"), limits));
  CHECK(unpack(unhex("82 01 01 02 02"), limits).error().message.find("more than 1 members") !=
        std::string::npos);
  // A header that claims four billion elements costs nothing.
  CHECK(unpack(unhex("dd ffffffff c0"), {}).error().code == ErrorCode::Corruption);
  CHECK(unpack(unhex("c6 ffffffff 00"), {}).error().code == ErrorCode::Corruption);
  CHECK(unpack(unhex("c0 c0"), {}).error().message.find("follows") != std::string::npos);
  CHECK(unpack(unhex("c1"), {}).error().code == ErrorCode::Corruption);

  tight.max_frame_bytes = 200;
  CHECK(encode_function(AgentId("a"), UploadFile{kKernel, "f", Bytes(10, 1)}, tight));
  CHECK(
      encode_function(AgentId("a"), UploadFile{kKernel, "f", Bytes(200, 1)}, tight).error().code ==
      ErrorCode::InvalidArgument);
  CHECK_FALSE(encode_result(Json(std::string(200, 'x')), tight));
  Json nested = 1;
  for (int i = 0; i < 70; ++i) nested = Json(Json::Array{nested});
  CHECK_FALSE(encode_result(nested));
  CHECK_FALSE(
      encode_function(AgentId("a"), GetCompletions{kKernel, "x", Json::object({{"a", nested}})}));
}

TEST_CASE("a request must name its agent, and text is repaired to UTF-8") {
  CHECK(encode_function(AgentId(), GetLogs{kKernel}).error().code == ErrorCode::InvalidArgument);
  const auto body = encode_function(AgentId("a"), ListFiles{kKernel, "x\xff"});
  const auto decoded = decode_function({MessageType::Function, "list_files", {}, 0}, *body);
  CHECK(std::get<ListFiles>(decoded->request).path == "x\xEF\xBF\xBD");
}

TEST_CASE("unknown methods and wrong arguments get the exception an agent would raise") {
  const Bytes body = *encode_function(AgentId("a"), GetLogs{kKernel});
  const auto unknown = decode_function({MessageType::Function, "self_destruct", {}, 0}, body);
  CHECK(unknown.error().code == ErrorCode::Unsupported);
  CHECK(unknown.error().kind == "NotImplementedError");
  const auto missing = decode_function({MessageType::Function, "list_files", {}, 0}, body);
  CHECK(missing.error().code == ErrorCode::InvalidArgument);
  CHECK(missing.error().kind == "TypeError");
  CHECK(missing.error().message == "list_files: path is not text.");
  const Bytes bad_id = *encode_function(AgentId("a"), DestroyKernel{kKernel, kSession, "x", false});
  std::string text = hex(bad_id);
  text.replace(text.find(hex(bytes_of("11111111-"))), 18, hex(bytes_of("1111zzzz-")));
  CHECK(decode_function({MessageType::Function, "destroy_kernel", {}, 0}, unhex(text))
            .error()
            .message == "destroy_kernel: kernel_id is not a UUID.");
  CHECK(decode_function({MessageType::Function, "get_logs", {}, 0}, unhex("80")).error().code ==
        ErrorCode::Corruption);
}

TEST_CASE("failure texts are unwrapped from Python's repr") {
  for (const std::string text :
       {"plain", "it's", "say \"hi\"", "both ' and \"", "line\nbreak\\t", "tab\there", ""})
    CHECK(python_unrepr(python_repr(text)) == text);
  CHECK(python_repr("it's") == "\"it's\"");
  CHECK(python_unrepr("'a', 'b'") == "'a', 'b'");
  CHECK(decode_failure(encode_failure("ResourceError", "no 'gpu' left", "")).message ==
        "no 'gpu' left");
  CHECK(decode_failure(encode_failure("KeyError", "", "")).message == "KeyError");
  CHECK(decode_failure(unhex("80")).code == ErrorCode::Corruption);
  CHECK(decode_failure(unhex("82 a4 6d657461 c4 01 90 a4 626f6479 c0")).code ==
        ErrorCode::Corruption);
}

TEST_CASE("pickles: only the plain ones are read, and work on them is bounded") {
  CHECK_FALSE(unpickle_image_ref({}));
  CHECK_FALSE(unpickle_image_ref(bytes_of("cos\nsystem\n(S'x'\ntR.")));
  CHECK_FALSE(unpickle_image_ref(Bytes(kMaxPickleBytes + 1, ')')));
  Bytes endless(kMaxPickleOps + 1, ')');
  endless.push_back('.');
  CHECK_FALSE(unpickle_scalar(endless));
  CHECK_FALSE(unpickle_scalar(bytes_of("h\x05.")));  // a memo entry that is not there
  CHECK_FALSE(unpickle_scalar(bytes_of("(.")));      // only a mark
  CHECK(*unpickle_scalar(bytes_of("ca\nb\nK\x07\x85\x81.")) == Json(7));
  CHECK(*unpickle_scalar(unhex("63610a620a 4a feffffff 85 81 2e")) == Json(-2));
}

}  // namespace bai::server::wire
