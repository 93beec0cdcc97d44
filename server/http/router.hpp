// From method and path to a route: a trie over path segments.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai::http {

// Path parameters in the order of the pattern, percent-decoded.
class PathParams {
 public:
  std::string_view get(std::string_view name) const noexcept;  // empty when there is none
  void add(std::string_view name, std::string value) { list_.emplace_back(name, std::move(value)); }
  void truncate(std::size_t size) { list_.resize(size); }
  std::size_t size() const noexcept { return list_.size(); }
  auto begin() const noexcept { return list_.begin(); }
  auto end() const noexcept { return list_.end(); }

 private:
  std::vector<std::pair<std::string_view, std::string>> list_;  // names live in the router
};

// The trie itself, over route numbers. Build it on one thread; afterwards find() is const and
// thread-safe.
class RouteTable {
 public:
  struct Found {
    std::optional<std::size_t> route;  // empty: see `allowed`
    PathParams params;
    std::vector<std::string> allowed;  // methods of this path, sorted; empty means no such path
  };

  RouteTable();
  ~RouteTable();
  RouteTable(RouteTable&&) noexcept;
  RouteTable& operator=(RouteTable&&) noexcept;

  // Pattern: literal segments, `{name}` for exactly one non-empty segment, and `{name...}` at the
  // end for the rest of the path, slashes included. A trailing slash is significant.
  // InvalidArgument for a malformed pattern, AlreadyExists for a repeated one.
  Status add(std::string_view method, std::string_view pattern, std::size_t route);
  // `raw_path` is still percent-encoded. Literal segments win over parameters, but a literal
  // branch that leads nowhere (or to another method) does not hide a parameter branch. HEAD falls
  // to GET.
  Found find(std::string_view method, std::string_view raw_path) const;

 private:
  struct Node;
  std::unique_ptr<Node> root_;
};

// The same with a value of the caller's per route.
template <class T>
class Router {
 public:
  struct Match {
    const T* route = nullptr;  // null: 405 when `allowed` is not empty, else 404
    PathParams params;
    std::vector<std::string> allowed;
    bool not_found() const noexcept { return !route && allowed.empty(); }
    bool method_not_allowed() const noexcept { return !route && !allowed.empty(); }
  };

  Status add(std::string_view method, std::string_view pattern, T value) {
    auto added = table_.add(method, pattern, values_.size());
    if (added) values_.push_back(std::make_unique<T>(std::move(value)));
    return added;
  }
  Match find(std::string_view method, std::string_view raw_path) const {
    auto found = table_.find(method, raw_path);
    return {found.route ? values_[*found.route].get() : nullptr, std::move(found.params),
            std::move(found.allowed)};
  }

 private:
  RouteTable table_;
  std::vector<std::unique_ptr<T>> values_;
};

}  // namespace bai::http
