#include "sim_agents/node_list.hpp"

#include <doctest/doctest.h>

using namespace bai;

namespace {

constexpr const char* kList =
    "sn,cpu_milli,memory_mib,gpu,model\n"
    "node-0,32000,262144,0,\n"
    "node-1,64500,1024,2,P100\r\n"
    "\n"
    "node-2,96000,786432,8,G2\n";

std::string error_of(std::string_view text, std::size_t every = 1) {
  const auto specs = server::parse_node_list(text, every);
  REQUIRE_FALSE(specs);
  CHECK(specs.error().code == ErrorCode::InvalidArgument);
  return specs.error().message;
}

}  // namespace

TEST_CASE("node list: thousandths of cores, MiB and devices become exact slots") {
  const auto specs = server::parse_node_list(kList);
  REQUIRE(specs);
  REQUIRE(specs->size() == 3);
  const SimAgentSpec& first = (*specs)[0];
  CHECK(first.id == AgentId("node-0"));
  CHECK(first.capacity == SlotMap{{"cpu", Amount{32'000}}, {"mem", Amount{262'144LL << 20}}});
  CHECK(first.accelerator_model.empty());
  const SimAgentSpec& second = (*specs)[1];
  CHECK(second.capacity == SlotMap{{"cpu", Amount{64'500}},
                                   {"cuda.device", Amount{2'000}},
                                   {"mem", Amount{1024LL << 20}}});
  CHECK(second.accelerator_model == "P100");
  const auto shares = server::parse_node_list(kList, 1, "cuda.shares");
  REQUIRE(shares);
  CHECK((*shares)[2].capacity.get("cuda.shares") == Amount{8'000});
}

TEST_CASE("node list: every K-th row, columns in any order, others ignored") {
  const auto half = server::parse_node_list(kList, 2);
  REQUIRE(half);
  REQUIRE(half->size() == 2);
  CHECK((*half)[1].id == AgentId("node-2"));
  const auto shuffled =
      server::parse_node_list("rack,model,gpu,memory_mib,cpu_milli,sn\n7,A10,1,2048,1000,n\n");
  REQUIRE(shuffled);
  CHECK((*shuffled)[0].capacity.get("mem") == Amount{2LL << 30});
}

TEST_CASE("node list: what is wrong is named with its line and column") {
  CHECK(error_of("") == "the node list holds no nodes");
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\n") == "the node list holds no nodes");
  CHECK(
      error_of("sn,cpu_milli,gpu,model\n").starts_with("line 1: the header has no column memory"));
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\na,1,2,3\n") ==
        "line 2: 4 columns, the header has 5");
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\na,1,2,-3,\n")
            .starts_with("line 2, column gpu: '-3' is not"));
  CHECK(
      error_of("sn,cpu_milli,memory_mib,gpu,model\na,1x,2,3,\n").starts_with("line 2, column cpu"));
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\n,1,2,3,\n") == "line 2, column sn: empty");
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\na,1,99999999999,0,\n")
            .starts_with("line 2, column memory_mib"));
  CHECK(error_of("sn,cpu_milli,memory_mib,gpu,model\na,1,2,0,\na,1,2,0,\n") ==
        "line 3: the node a is listed twice");
  CHECK(error_of(kList, 0).starts_with("every: 0"));
  std::string many = "sn,cpu_milli,memory_mib,gpu,model\n";
  for (std::size_t i = 0; i <= server::kNodeListRowsMax; ++i) {
    many += "n" + std::to_string(i) + ",1,1,0,\n";
  }
  CHECK(error_of(many) == "more than 100000 nodes");
  const auto missing = server::load_node_list("/nowhere/nodes.csv");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::NotFound);
}
