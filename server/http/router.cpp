#include "http/router.hpp"

#include <algorithm>

#include "http/text.hpp"

namespace bai::http {

std::string_view PathParams::get(std::string_view name) const noexcept {
  for (const auto& [key, value] : list_) {
    if (key == name) return value;
  }
  return {};
}

struct RouteTable::Node {
  struct Route {
    std::size_t number;
    std::vector<std::string> names;  // of the parameters on the way, in order
  };
  std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
  std::unique_ptr<Node> parameter;
  std::map<std::string, Route, std::less<>> routes;       // by method: the path ends here
  std::map<std::string, Route, std::less<>> rest_routes;  // by method: the rest is a parameter
};

RouteTable::RouteTable() : root_(std::make_unique<Node>()) {}
RouteTable::~RouteTable() = default;
RouteTable::RouteTable(RouteTable&&) noexcept = default;
RouteTable& RouteTable::operator=(RouteTable&&) noexcept = default;

namespace {

std::unexpected<Error> bad_pattern(std::string_view pattern, std::string_view why) {
  return fail(ErrorCode::InvalidArgument,
              "route pattern '" + std::string(pattern) + "': " + std::string(why));
}

// "{name}" gives "name"; anything else nothing.
std::optional<std::string_view> parameter_name(std::string_view segment) {
  if (segment.size() < 3 || segment.front() != '{' || segment.back() != '}') return std::nullopt;
  return segment.substr(1, segment.size() - 2);
}

}  // namespace

Status RouteTable::add(std::string_view method, std::string_view pattern, std::size_t route) {
  if (!is_token(method)) return bad_pattern(pattern, "the method is not a token");
  if (!pattern.starts_with('/')) return bad_pattern(pattern, "it must begin with '/'");
  Node* node = root_.get();
  std::vector<std::string> names;
  bool rest = false;
  std::string_view left = pattern.substr(1);
  for (bool more = true; more;) {
    if (rest) return bad_pattern(pattern, "'{name...}' must be the last segment");
    const auto slash = left.find('/');
    const std::string_view segment = left.substr(0, slash);
    more = slash != std::string_view::npos;
    if (more) left.remove_prefix(slash + 1);
    auto name = parameter_name(segment);
    if (!name) {
      if (segment.find_first_of("{}") != std::string_view::npos) {
        return bad_pattern(pattern, "braces must enclose a whole segment");
      }
      auto& child = node->literals[std::string(segment)];
      if (!child) child = std::make_unique<Node>();
      node = child.get();
      continue;
    }
    rest = name->ends_with("...");
    if (rest) name->remove_suffix(3);
    if (name->empty()) return bad_pattern(pattern, "a parameter needs a name");
    if (std::ranges::find(names, *name) != names.end()) {
      return bad_pattern(pattern, "a parameter name is repeated");
    }
    names.emplace_back(*name);
    if (rest) continue;
    if (!node->parameter) node->parameter = std::make_unique<Node>();
    node = node->parameter.get();
  }
  auto& routes = rest ? node->rest_routes : node->routes;
  if (!routes.emplace(std::string(method), Node::Route{route, std::move(names)}).second) {
    return fail(ErrorCode::AlreadyExists, "route '" + std::string(method) + " " +
                                              std::string(pattern) + "' is registered twice");
  }
  return {};
}

namespace {

// One walk through the trie; `values` follows the parameters of the current branch.
template <class Node>
struct Walk {
  std::string_view method;
  std::vector<std::string> segments;
  std::vector<std::string> values;
  RouteTable::Found found;

  template <class Routes>
  bool accept(const Routes& routes) {
    auto route = routes.find(method);
    if (route == routes.end() && method == "HEAD") route = routes.find(std::string_view("GET"));
    if (route == routes.end()) {
      for (const auto& [name, unused] : routes) found.allowed.push_back(name);
      if (routes.contains(std::string_view("GET"))) found.allowed.push_back("HEAD");
      return false;
    }
    found.route = route->second.number;
    for (std::size_t i = 0; i < values.size(); ++i) {
      found.params.add(route->second.names[i], std::move(values[i]));
    }
    return true;
  }

  bool visit(const Node& node, std::size_t depth) {
    if (depth == segments.size()) return accept(node.routes);
    const std::string& segment = segments[depth];
    const auto literal = node.literals.find(segment);
    if (literal != node.literals.end() && visit(*literal->second, depth + 1)) return true;
    if (node.parameter && !segment.empty()) {
      values.push_back(segment);
      if (visit(*node.parameter, depth + 1)) return true;
      values.pop_back();
    }
    if (node.rest_routes.empty()) return false;
    std::string rest = segment;
    for (std::size_t i = depth + 1; i < segments.size(); ++i) rest.append("/").append(segments[i]);
    values.push_back(std::move(rest));
    if (accept(node.rest_routes)) return true;
    values.pop_back();
    return false;
  }
};

}  // namespace

RouteTable::Found RouteTable::find(std::string_view method, std::string_view raw_path) const {
  if (!raw_path.starts_with('/')) return {};
  Walk<Node> walk{method, {}, {}, {}};
  std::string_view left = raw_path.substr(1);
  for (bool more = true; more;) {
    const auto slash = left.find('/');
    auto segment = percent_decode(left.substr(0, slash));
    if (!segment) return {};
    walk.segments.push_back(std::move(*segment));
    more = slash != std::string_view::npos;
    if (more) left.remove_prefix(slash + 1);
  }
  if (walk.visit(*root_, 0)) {
    walk.found.allowed.clear();
  } else {
    auto& allowed = walk.found.allowed;
    std::ranges::sort(allowed);
    allowed.erase(std::ranges::unique(allowed).begin(), allowed.end());
  }
  return std::move(walk.found);
}

}  // namespace bai::http
