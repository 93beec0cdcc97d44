// Sessions whose kernels differ.
#include "harness.hpp"

namespace bai::test {

namespace {

CreateSession gang(std::initializer_list<SlotMap> kernels) {
  CreateSession request = World::request("gang", kLocalImage, std::ssize(kernels));
  request.slots = {};
  request.kernel_slots = kernels;
  return request;
}

std::string refusal(World& w, const CreateSession& request) {
  const auto result = w.ask(request);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ErrorCode::InvalidArgument);
  return result.error().message;
}

}  // namespace

TEST_CASE("each kernel asks for amounts of its own, what it leaves out comes from the image") {
  World w;
  w.add_agent("a1", "16", "64g");
  const SessionId id =
      w.create(gang({slots({{"cpu", "1"}, {"mem", "2g"}}), slots({{"cpu", "4"}, {"mem", "8g"}}),
                     slots({{"mem", "1g"}})}));
  CHECK(w.session(id).cluster_size == 3);
  CHECK(w.session(id).requested_slots == slots({{"cpu", "6"}, {"mem", "11g"}}));
  CHECK(w.kernel(id, 0).cluster_hostname == "main1");
  CHECK(w.kernel(id, 0).requested_slots == slots({{"cpu", "1"}, {"mem", "2g"}}));
  CHECK(w.kernel(id, 1).cluster_hostname == "sub1");
  CHECK(w.kernel(id, 1).requested_slots == slots({{"cpu", "4"}, {"mem", "8g"}}));
  CHECK(w.kernel(id, 2).requested_slots == slots({{"cpu", "1"}, {"mem", "1g"}}));
}

TEST_CASE("as many kernels are described as there are, each rightly, and nothing beside them") {
  World w;
  w.add_agent("a1", "16", "64g");
  const SlotMap one = slots({{"cpu", "1"}, {"mem", "1g"}});
  CreateSession request = gang({one, one});
  request.cluster_size = 3;
  CHECK(refusal(w, request) == "kernels: 2 are described, and cluster_size is 3");
  request.cluster_size = 2;
  request.slots = one;
  CHECK(refusal(w, request).find("either for each") != std::string::npos);
  CHECK(refusal(w, gang({one, slots({{"mem", "1m"}})})).find("Shared memory") != std::string::npos);
  SlotMap negative = one;
  negative.set("cpu", Amount{-1000});
  CHECK(refusal(w, gang({one, negative})).find("negative") != std::string::npos);
  w.create(gang({one, one}));
}

}  // namespace bai::test
