// The tree against std::map: random steps, with frozen versions compared long after they were made.
#include "model/cow_tree.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>

#include "random.hpp"

namespace bai::test {

namespace {

using Tree = CowTree<std::int64_t, std::int64_t>;
using Model = std::map<std::int64_t, std::int64_t>;

bool same(const Tree& tree, const Model& model) {
  if (tree.size() != model.size() || tree.empty() != model.empty()) return false;
  auto expected = model.begin();
  bool equal = true;
  tree.for_each([&](std::int64_t key, std::int64_t value) {
    equal = expected != model.end() && expected->first == key && expected->second == value;
    if (equal) ++expected;
    return equal;
  });
  return equal && expected == model.end();
}

// What a look-up, a range and a rank say at `key`.
bool same_at(const Tree& tree, const Model& model, std::int64_t key) {
  const auto entry = model.find(key);
  const std::int64_t* found = tree.find(key);
  if ((found != nullptr) != (entry != model.end())) return false;
  if (found != nullptr && *found != entry->second) return false;
  auto expected = model.lower_bound(key);
  bool equal = true;
  int left = 3;
  tree.for_each_from(key, [&](std::int64_t at, std::int64_t value) {
    equal = expected != model.end() && expected->first == at && expected->second == value;
    if (equal) ++expected;
    return equal && --left > 0;
  });
  return equal && (left == 0 || expected == model.end());
}

struct Version {
  Tree tree;
  Model model;
};

struct Walk {
  std::uint64_t steps;
  std::int64_t keys;  // drawn from [0, keys)
  int erase_percent;  // the others put
  int swing = 0;      // so many steps, then puts and erases change their shares
  std::uint64_t seed = 1;
};

void run(const Walk& walk) {
  constexpr std::uint64_t kFreezeEvery = 4001, kCheckEvery = 97;
  constexpr std::size_t kVersionsMax = 24;
  Dice dice(walk.seed);
  Tree tree;
  Model model;
  std::vector<Version> versions;
  for (std::uint64_t step = 0; step < walk.steps; ++step) {
    const std::int64_t key = dice.between(0, walk.keys - 1);
    int share = walk.erase_percent;
    if (walk.swing != 0 && (step / static_cast<std::uint64_t>(walk.swing)) % 2 == 1)
      share = 100 - share;
    if (dice.chance(share)) {
      REQUIRE(tree.erase(key) == (model.erase(key) == 1));
    } else {
      const auto value = static_cast<std::int64_t>(step);
      const bool is_new = model.insert_or_assign(key, value).second;
      REQUIRE(tree.put(key, value) == is_new);
    }
    REQUIRE(tree.size() == model.size());
    if (step % kCheckEvery == 0) {
      const std::int64_t at = dice.between(-1, walk.keys);
      REQUIRE(same_at(tree, model, at));
      const auto below = std::distance(model.begin(), model.lower_bound(at));
      REQUIRE(tree.rank(at) == static_cast<std::size_t>(below));
    }
    if (step % kFreezeEvery != 0) continue;
    if (versions.size() == kVersionsMax) {  // one that has grown old goes, or is gone back to
      const std::size_t at = dice.below(versions.size());
      REQUIRE(same(versions[at].tree, versions[at].model));
      if (dice.chance(30)) {
        tree.restore(versions[at].tree);
        model = versions[at].model;
      }
      versions.erase(versions.begin() + static_cast<std::ptrdiff_t>(at));
    }
    versions.push_back({tree.freeze(), model});
  }
  REQUIRE(same(tree, model));
  for (const Version& version : versions) REQUIRE(same(version.tree, version.model));
}

}  // namespace

TEST_CASE("a tree behaves as a map does over random steps") {
  run({.steps = 600'000, .keys = 3000, .erase_percent = 45, .seed = 11});
  run({.steps = 300'000, .keys = 40, .erase_percent = 50, .seed = 12});         // one or two leaves
  run({.steps = 300'000, .keys = 1'000'000, .erase_percent = 10, .seed = 13});  // mostly new keys
}

TEST_CASE("a tree that mostly shrinks keeps what is left") {
  run({.steps = 300'000, .keys = 2000, .erase_percent = 75, .seed = 21});
}

TEST_CASE("a tree that fills and empties again and again stays right") {
  run({.steps = 500'000, .keys = 4000, .erase_percent = 10, .swing = 9000, .seed = 31});
}

TEST_CASE("ascending and descending keys go in and come out in both directions") {
  constexpr std::int64_t kCount = 20'000;
  for (const bool fill_up : {true, false}) {
    for (const bool drain_up : {true, false}) {
      Tree tree;
      Model model;
      for (std::int64_t i = 0; i < kCount; ++i) {
        const std::int64_t key = fill_up ? i : kCount - 1 - i;
        REQUIRE(tree.put(key, -key));
        model[key] = -key;
      }
      REQUIRE(same(tree, model));
      const Tree full = tree.freeze();
      for (std::int64_t i = 0; i < kCount; ++i) {
        const std::int64_t key = drain_up ? i : kCount - 1 - i;
        REQUIRE(tree.rank(key) == (drain_up ? 0U : static_cast<std::size_t>(key)));
        REQUIRE(tree.erase(key));
        REQUIRE_FALSE(tree.erase(key));
        if (i == kCount / 2) REQUIRE(tree.size() == static_cast<std::size_t>(kCount - i - 1));
      }
      CHECK(tree.empty());
      CHECK(tree.find(0) == nullptr);
      CHECK(tree.rank(kCount) == 0);
      CHECK(same(full, model));
      CHECK(tree.put(7, 7));  // an emptied tree takes entries again
      CHECK(tree.size() == 1);
    }
  }
}

TEST_CASE("a visit stops where it is told to, and begins where it is told to") {
  Tree tree;
  for (std::int64_t key = 0; key < 1000; key += 2) tree.put(key, key);
  std::vector<std::int64_t> seen;
  tree.for_each_from(501, [&](std::int64_t key, std::int64_t) {
    seen.push_back(key);
    return seen.size() < 3;
  });
  CHECK(seen == std::vector<std::int64_t>{502, 504, 506});
  seen.clear();
  tree.for_each_from(999, [&](std::int64_t key, std::int64_t) {
    seen.push_back(key);
    return true;
  });
  CHECK(seen.empty());
  tree.for_each([&](std::int64_t key, std::int64_t) {
    seen.push_back(key);
    return false;
  });
  CHECK(seen == std::vector<std::int64_t>{0});
}

TEST_CASE("values that own memory are shared by versions and freed with the last of them") {
  using Owned = std::shared_ptr<std::string>;
  CowTree<std::string, Owned> tree;
  std::vector<std::weak_ptr<std::string>> watch;
  for (int i = 0; i < 500; ++i) {
    auto value = std::make_shared<std::string>(std::to_string(i));
    watch.push_back(value);
    tree.put("key " + std::to_string(i), std::move(value));
  }
  {
    const auto frozen = tree.freeze();
    for (int i = 0; i < 500; ++i) tree.erase("key " + std::to_string(i));
    CHECK(tree.empty());
    CHECK(frozen.size() == 500);
    for (const auto& value : watch) CHECK_FALSE(value.expired());
  }
  for (const auto& value : watch) CHECK(value.expired());
}

TEST_CASE("going back to a version does not touch the versions made since") {
  Tree tree;
  for (std::int64_t key = 0; key < 200; ++key) tree.put(key, 1);
  const Tree first = tree.freeze();
  for (std::int64_t key = 0; key < 200; ++key) tree.put(key, 2);
  const Tree second = tree.freeze();
  tree.restore(first);
  for (std::int64_t key = 0; key < 200; key += 3) tree.put(key, 3);
  CHECK(*first.find(0) == 1);
  CHECK(*second.find(0) == 2);
  CHECK(*tree.find(0) == 3);
  CHECK(*tree.find(1) == 1);
}

}  // namespace bai::test
