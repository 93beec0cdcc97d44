#include "agent/pickle.hpp"

#include <map>
#include <memory>
#include <variant>

namespace bai::server::wire {
namespace {

constexpr std::string_view kImageRefModule = "ai.backend.common.docker";
constexpr std::string_view kImageRefClass = "ImageRef";

// ---- writing ------------------------------------------------------------------------------------

class PickleWriter {
 public:
  void op(char c) { out_ += c; }
  void raw(std::string_view s) { out_ += s; }
  void memoize() {
    op('q');
    op(static_cast<char>(memo_++));
  }
  void text(std::string_view unchecked) {
    const std::string s = valid_utf8(unchecked);
    op('X');
    const auto size = static_cast<std::uint32_t>(s.size());
    for (unsigned shift = 0; shift < 32; shift += 8) op(static_cast<char>(size >> shift & 0xFFU));
    raw(s);
    memoize();
  }
  Bytes take() const { return {out_.begin(), out_.end()}; }

 private:
  std::string out_;
  int memo_ = 0;
};

// ---- reading ------------------------------------------------------------------------------------

struct Node;
using NodePtr = std::shared_ptr<const Node>;  // shared, so that memo loops cannot multiply anything
struct Mark {};
struct Global {
  std::string module, name;
};
struct Tuple {
  std::vector<NodePtr> items;
};
struct Dict {
  std::vector<std::pair<NodePtr, NodePtr>> items;
};
struct Object {
  Global type;
  std::vector<NodePtr> args;
  NodePtr state;
};
struct Node {
  std::variant<std::monostate, Mark, bool, std::int64_t, std::string, Global, Tuple, Dict, Object>
      value;
  template <class T>
  const T* get() const noexcept {
    return std::get_if<T>(&value);
  }
};

// A stack machine for the operations that CPython emits for plain objects; anything else ends it.
class PickleReader {
 public:
  explicit PickleReader(ByteView in) : in_(in) {}

  NodePtr run() {
    if (in_.size() > kMaxPickleBytes) return nullptr;
    for (std::size_t ops = 0; ops < kMaxPickleOps; ++ops) {
      const int op = byte();
      if (op == '.') return !stack_.empty() && !is_mark(stack_.back()) ? stack_.back() : nullptr;
      if (op < 0 || !step(op)) return nullptr;
    }
    return nullptr;
  }

 private:
  static bool is_mark(const NodePtr& node) { return node->get<Mark>() != nullptr; }
  template <class T>
  bool push(T value) {
    auto node = std::make_shared<Node>();
    node->value = std::move(value);
    stack_.push_back(std::move(node));
    return true;
  }
  bool pop(NodePtr& out) {
    if (stack_.empty() || is_mark(stack_.back())) return false;
    out = std::move(stack_.back());
    stack_.pop_back();
    return true;
  }
  bool pop_to_mark(std::vector<NodePtr>& out) {
    std::size_t at = stack_.size();
    while (at > 0 && !is_mark(stack_[at - 1])) --at;
    if (at == 0) return false;
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(at);
    out.assign(begin, stack_.end());
    stack_.erase(begin - 1, stack_.end());
    return true;
  }

  int byte() { return at_ < in_.size() ? in_[at_++] : -1; }
  bool little(std::size_t n, std::uint64_t& out) {
    if (in_.size() - at_ < n) return false;
    out = 0;
    for (std::size_t i = 0; i < n; ++i) out |= std::uint64_t{in_[at_ + i]} << (8 * i);
    at_ += n;
    return true;
  }
  bool text(std::size_t length_bytes, std::string& out) {
    std::uint64_t size = 0;
    if (!little(length_bytes, size) || size > in_.size() - at_) return false;
    out.assign(reinterpret_cast<const char*>(in_.data()) + at_, size);
    at_ += size;
    return true;
  }
  bool line(std::string& out) {
    for (int c = byte(); c >= 0; c = byte()) {
      if (c == '\n') return true;
      out.push_back(static_cast<char>(c));
    }
    return false;
  }

  bool step(int op) {
    switch (op) {
      case 0x80:
        return byte() <= 5;  // PROTO
      case 0x95: {           // FRAME
        std::uint64_t ignored = 0;
        return little(8, ignored);
      }
      case 'N':
        return push(std::monostate{});
      case 0x88:
        return push(true);
      case 0x89:
        return push(false);
      case '(':
        return push(Mark{});
      case '}':
        return push(Dict{});
      case ')':
        return push(Tuple{});
      case 'X':
      case 0x8C:
      case 0x8D: {
        std::string s;
        return text(op == 'X' ? 4 : op == 0x8C ? 1 : 8, s) && push(std::move(s));
      }
      case 'K':
      case 'M':
      case 'J':
      case 0x8A:
        return integer(op);
      default:
        return memo(op) || compose(op);
    }
  }

  bool integer(int op) {
    std::uint64_t bits = 0;
    std::size_t n = op == 'K' ? 1 : op == 'M' ? 2 : 4;
    if (op == 0x8A) {  // LONG1
      const int size = byte();
      if (size < 0 || size > 8) return false;
      n = static_cast<std::size_t>(size);
    }
    if (!little(n, bits)) return false;
    const bool is_signed = op == 'J' || op == 0x8A;
    if (is_signed && n > 0 && n < 8 && (bits >> (8 * n - 1) & 1U) != 0)
      bits |= ~std::uint64_t{0} << (8 * n);
    return push(static_cast<std::int64_t>(bits));
  }

  bool memo(int op) {
    std::uint64_t index = 0;
    switch (op) {
      case 'q':
      case 'r':
      case 0x94:
        if (op == 0x94)
          index = memo_.size();
        else if (!little(op == 'q' ? 1 : 4, index))
          return false;
        if (stack_.empty() || is_mark(stack_.back())) return false;
        memo_[index] = stack_.back();
        return true;
      case 'h':
      case 'j': {
        if (!little(op == 'h' ? 1 : 4, index)) return false;
        const auto found = memo_.find(index);
        if (found == memo_.end()) return false;
        stack_.push_back(found->second);
        return true;
      }
      default:
        return false;
    }
  }

  bool compose(int op) {
    switch (op) {
      case 'c': {  // GLOBAL
        Global g;
        return line(g.module) && line(g.name) && push(std::move(g));
      }
      case 0x93: {  // STACK_GLOBAL
        NodePtr name, module;
        if (!pop(name) || !pop(module)) return false;
        const auto *n = name->get<std::string>(), *m = module->get<std::string>();
        return n != nullptr && m != nullptr && push(Global{*m, *n});
      }
      case 0x85:
        return tuple(1);
      case 0x86:
        return tuple(2);
      case 0x87:
        return tuple(3);
      case 't': {
        Tuple t;
        return pop_to_mark(t.items) && push(std::move(t));
      }
      case 0x81:
      case 'R': {  // NEWOBJ, REDUCE
        NodePtr args, type;
        if (!pop(args) || !pop(type)) return false;
        const auto* t = args->get<Tuple>();
        const auto* g = type->get<Global>();
        return t != nullptr && g != nullptr && push(Object{*g, t->items, nullptr});
      }
      case 's':
      case 'u':
        return set_items(op);
      case 'b': {  // BUILD
        NodePtr state, object;
        if (!pop(state) || !pop(object)) return false;
        const auto* o = object->get<Object>();
        return o != nullptr && push(Object{o->type, o->args, state});
      }
      default:
        return false;
    }
  }

  bool tuple(std::size_t n) {
    Tuple t;
    t.items.resize(n);
    for (std::size_t i = n; i-- > 0;)
      if (!pop(t.items[i])) return false;
    return push(std::move(t));
  }

  bool set_items(int op) {
    std::vector<NodePtr> items;
    if (op == 's') {
      items.resize(2);
      if (!pop(items[1]) || !pop(items[0])) return false;
    } else if (!pop_to_mark(items) || items.size() % 2 != 0) {
      return false;
    }
    NodePtr target;
    if (!pop(target) || target->get<Dict>() == nullptr) return false;
    Dict dict = *target->get<Dict>();  // a copy: the memo's one stays as it was
    for (std::size_t i = 0; i < items.size(); i += 2)
      dict.items.emplace_back(items[i], items[i + 1]);
    return push(std::move(dict));
  }

  ByteView in_;
  std::size_t at_ = 0;
  std::vector<NodePtr> stack_;
  std::map<std::uint64_t, NodePtr> memo_;
};

const Node* member(const Dict& dict, std::string_view key) {
  for (const auto& [k, v] : dict.items)
    if (const auto* text = k->get<std::string>(); text != nullptr && *text == key) return v.get();
  return nullptr;
}

}  // namespace

Bytes pickle_image_ref(const ImageRef& ref) {
  PickleWriter w;
  w.raw("\x80\x02");
  w.raw("c");
  w.raw(kImageRefModule);
  w.op('\n');
  w.raw(kImageRefClass);
  w.op('\n');
  w.memoize();
  w.raw(")\x81");
  w.memoize();
  w.op('}');
  w.memoize();
  w.op('(');
  const auto field = [&w](std::string_view key, std::string_view value) {
    w.text(key);
    w.text(value);
  };
  field("name", ref.name);
  w.text("project");
  if (ref.project.empty())
    w.op('N');
  else
    w.text(ref.project);
  field("tag", ref.tag);
  field("registry", ref.registry);
  field("architecture", ref.architecture);
  w.text("is_local");
  w.op(ref.is_local ? '\x88' : '\x89');
  w.raw("ub.");
  return w.take();
}

Result<ImageRef> unpickle_image_ref(ByteView bytes) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorCode::Corruption,
                "The image reference is not usable: " + std::string(why) + ".");
  };
  const NodePtr node = PickleReader(bytes).run();
  const auto* object = node ? node->get<Object>() : nullptr;
  if (object == nullptr || object->type.module != kImageRefModule ||
      object->type.name != kImageRefClass)
    return bad("it is no pickle of an ImageRef");
  const auto* fields = object->state ? object->state->get<Dict>() : nullptr;
  if (fields == nullptr) return bad("it has no fields");
  ImageRef ref;
  const std::pair<std::string_view, std::string*> texts[] = {{"name", &ref.name},
                                                             {"project", &ref.project},
                                                             {"tag", &ref.tag},
                                                             {"registry", &ref.registry},
                                                             {"architecture", &ref.architecture}};
  for (const auto& [key, target] : texts) {
    const Node* value = member(*fields, key);
    if (value == nullptr) return bad("field `" + std::string(key) + "` is missing");
    if (const auto* text = value->get<std::string>())
      *target = *text;
    else if (key != "project" || value->get<std::monostate>() == nullptr)
      return bad("field `" + std::string(key) + "` is not text");
  }
  const Node* local = member(*fields, "is_local");
  if (local == nullptr || local->get<bool>() == nullptr) return bad("`is_local` is not a bool");
  ref.is_local = *local->get<bool>();
  return ref;
}

std::optional<Json> unpickle_scalar(ByteView bytes) {
  const NodePtr node = PickleReader(bytes).run();
  const auto* object = node ? node->get<Object>() : nullptr;
  if (object == nullptr || object->args.size() != 1) return std::nullopt;
  if (const auto* text = object->args[0]->get<std::string>()) return Json(valid_utf8(*text));
  if (const auto* number = object->args[0]->get<std::int64_t>()) return Json(*number);
  return std::nullopt;
}

}  // namespace bai::server::wire
