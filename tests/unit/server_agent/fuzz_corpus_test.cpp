// Replays the fuzzer's corpus, so that every build checks what the fuzzer has found.
#include <filesystem>
#include <fstream>

#include "fuzz/agent_wire_check.hpp"
#include "support.hpp"

namespace bai::server {

namespace {

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Seeds of every kind, and whether they decode at all: a corpus of refusals would prove nothing.
std::vector<Bytes> corpus() {
  std::vector<Bytes> out;
  const std::filesystem::path folder = BAI_SOURCE_DIR "/tests/fuzz/corpus/agent_wire";
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    out.push_back(read(entry.path()));
  return out;
}

}  // namespace

TEST_CASE("the fuzz corpus holds") {
  const auto inputs = corpus();
  CHECK(inputs.size() >= 40);
  for (const Bytes& input : inputs) {
    CAPTURE(test::hex(input));
    CHECK(wire::fuzz::check_bytes(input) == "");
  }
}

TEST_CASE("every seed, cut and flipped anywhere, is survived") {
  for (const Bytes& input : corpus()) {
    if (input.size() > 600) continue;
    for (std::size_t i = 1; i < input.size(); ++i) {
      const Bytes cut(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(i));
      CHECK(wire::fuzz::check_bytes(cut) == "");
      Bytes flipped = input;
      flipped[i] = static_cast<std::uint8_t>(flipped[i] ^ (1U << (i % 8)));
      CHECK(wire::fuzz::check_bytes(flipped) == "");
    }
  }
}

TEST_CASE("the corpus has a decodable input of every method and every event") {
  std::set<std::size_t> methods, events;
  for (const Bytes& input : corpus()) {
    if (input.size() < 2) continue;
    const wire::ByteView after = wire::ByteView(input).subspan(2);
    if (input[0] == 'c') {
      const std::size_t which = input[1] % wire::fuzz::kMethods.size();
      const wire::Header header{
          wire::MessageType::Function, std::string(wire::fuzz::kMethods[which]), {}, 0};
      if (wire::decode_function(header, after)) methods.insert(which);
    } else if (input[0] == 'e') {
      const std::size_t which = input[1] % wire::fuzz::kEvents.size();
      const std::string_view text(reinterpret_cast<const char*>(after.data()), after.size());
      if (parse_agent_event(wire::fuzz::kEvents[which], "a", text)) events.insert(which);
    }
  }
  CHECK(methods.size() == wire::fuzz::kMethods.size());
  CHECK(events.size() == wire::fuzz::kEvents.size());
}

}  // namespace bai::server
