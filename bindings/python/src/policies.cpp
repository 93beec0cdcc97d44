#include "policies.hpp"

#include <stdexcept>
#include <unordered_set>

#include "convert.hpp"
#include "view.hpp"

namespace bai::python {

namespace {

template <class T>
std::shared_ptr<T> shared_under_gil(T* object) {
  return std::shared_ptr<T>(object, [](T* doomed) {
    const py::gil_scoped_acquire gil;
    delete doomed;
  });
}

// A policy object with its bound method; shared by all adapters that the registry makes of it.
struct Instance {
  std::string name, method_name;
  py::object policy, method;
  py::object device;  // null: the policy does not choose devices
  std::shared_ptr<PolicyHost> host;

  [[noreturn]] void nonsense(const std::string& text) const {
    throw std::runtime_error(host->note(name, method_name, text, py::none()));
  }

  // Runs `body` with the GIL; what is raised ends the pass as a std::runtime_error.
  template <class Body>
  auto run(Body&& body) const {
    try {
      return body();
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_Exception)) host->keep(error);
      if (error.trace()) PyException_SetTraceback(error.value().ptr(), error.trace().ptr());
      const std::string text = type_name(error.value()) + ": " + message_of(error.value());
      throw std::runtime_error(host->note(name, method_name, text, error.value()));
    } catch (const py::cast_error& error) {
      nonsense(error.what());
    }
  }

  static std::string message_of(const py::object& exception) {
    const auto text = py::reinterpret_steal<py::object>(PyObject_Str(exception.ptr()));
    if (text) return text.cast<std::string>();
    PyErr_Clear();
    return "(its text cannot be read)";
  }
};
using Shared = std::shared_ptr<const Instance>;

std::string shown(py::handle value) {
  const auto text = py::reinterpret_steal<py::object>(PyObject_Repr(value.ptr()));
  if (!text) {
    PyErr_Clear();
    return type_name(value);
  }
  std::string shortened = text.cast<std::string>();
  constexpr std::size_t kShownMax = 80;
  // The same history says the same: no addresses.
  if (shortened.size() > kShownMax || shortened.find(" at 0x") != std::string::npos) {
    shortened = type_name(value) + " object";
  }
  return shortened;
}

// None for what is no integer, or none of 64 bits. Truth values are no integers.
std::optional<std::int64_t> integer_from(const py::object& value) {
  if (PyBool_Check(value.ptr()) || PyIndex_Check(value.ptr()) == 0) return std::nullopt;
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long integer = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  return overflow == 0 ? std::optional<std::int64_t>(integer) : std::nullopt;
}

// The index of the device that the policy names.
std::uint32_t choose_device(const Instance& instance, const SchedView& view, const Demand& demand,
                            AgentIndex agent, SlotIndex slot, std::int64_t units,
                            std::span<const std::int64_t> free) {
  const py::gil_scoped_acquire gil;
  return instance.run([&] {
    const PassScope scope(view);
    py::list rooms;
    for (const std::int64_t room : free) rooms.append(room);
    const py::object answer =
        instance.device(ViewHandle{scope.pass()}, DemandHandle{scope.pass(), &demand}, agent,
                        view.slot_name(slot), units, rooms);
    const std::int64_t at = integer_from(answer).value_or(-1);
    if (at < 0 || static_cast<std::size_t>(at) >= free.size() ||
        free[static_cast<std::size_t>(at)] < units) {
      instance.nonsense("chose device " + shown(answer) +
                        "; right would be the index of one that has enough free");
    }
    return static_cast<std::uint32_t>(at);
  });
}

class PythonRater final : public Rater {
 public:
  explicit PythonRater(Shared instance) : instance_(std::move(instance)) {}

  std::int64_t score(const SchedView& view, const Requirement& requirement,
                     AgentIndex agent) const override {
    const py::gil_scoped_acquire gil;
    return instance_->run([&] {
      const PassScope scope(view);
      const py::object answer = instance_->method(ViewHandle{scope.pass()},
                                                  units_by_name(view, requirement.slots), agent);
      const auto score = integer_from(answer);
      if (!score) {
        instance_->nonsense("returned " + shown(answer) +
                            "; right would be an integer from -2^63 to 2^63-1");
      }
      return *score;
    });
  }

 private:
  Shared instance_;
};

class PythonScoreSelector final : public ScoreSelector {
 public:
  explicit PythonScoreSelector(Shared instance) : instance_(std::move(instance)) {}

  std::unique_ptr<const Rater> rater(const SchedView&) const override {
    return std::make_unique<const PythonRater>(instance_);
  }
  std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const override {
    if (!instance_->device) return Selector::device(view, demand, agent, slot, units, free);
    return choose_device(*instance_, view, demand, agent, slot, units, free);
  }

 private:
  Shared instance_;
};

class PythonSelector final : public Selector {
 public:
  explicit PythonSelector(Shared instance) : instance_(std::move(instance)) {}

  std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const override {
    if (!instance_->device) return Selector::device(view, demand, agent, slot, units, free);
    return choose_device(*instance_, view, demand, agent, slot, units, free);
  }

  std::optional<AgentIndex> select(const SchedView& view, const Demand& demand,
                                   const Candidates& candidates) const override {
    const py::gil_scoped_acquire gil;
    return instance_->run([&] { return call(view, demand, candidates); });
  }

 private:
  std::optional<AgentIndex> call(const SchedView& view, const Demand& demand,
                                 const Candidates& candidates) const {
    const PassScope scope(view);
    const py::object answer =
        instance_->method(ViewHandle{scope.pass()}, DemandHandle{scope.pass(), &demand},
                          CandidatesHandle{scope.pass(), &candidates});
    if (answer.is_none()) return std::nullopt;
    const std::int64_t index = integer_from(answer).value_or(-1);
    const auto all = candidates.list();
    if (index < 0 || index > 0xffffffffLL ||
        std::find(all.begin(), all.end(), static_cast<AgentIndex>(index)) == all.end()) {
      instance_->nonsense("returned " + shown(answer) +
                          "; right would be the index of one of the candidates, or None");
    }
    return static_cast<AgentIndex>(index);
  }

  Shared instance_;
};

class PythonValidator final : public Validator {
 public:
  explicit PythonValidator(Shared instance) : instance_(std::move(instance)) {}

  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    const py::gil_scoped_acquire gil;
    instance_->run([&] {
      const PassScope scope(view);
      const py::object answer = instance_->method(
          ViewHandle{scope.pass()}, PendingHandle{scope.pass(), &session, std::nullopt});
      add(answer, refusals);
    });
  }

 private:
  void add(const py::object& answer, std::vector<Refusal>& refusals) const {
    if (answer.is_none()) return;
    if (py::isinstance<py::str>(answer) || py::hasattr(answer, "message")) {
      refusals.push_back(one(answer));
      return;
    }
    if (!py::isinstance<py::list>(answer) && !py::isinstance<py::tuple>(answer)) refuse(answer);
    for (const py::handle item : answer) refusals.push_back(one(item));
  }

  Refusal one(py::handle item) const {
    Refusal refusal;
    refusal.code = "refused";
    if (py::isinstance<py::str>(item)) {
      refusal.message = text_of(item, item);
      return refusal;
    }
    if (!py::hasattr(item, "message")) refuse(item);
    refusal.message = text_of(item, item.attr("message"));
    refusal.code = text_of(item, py::getattr(item, "code", py::str("refused")));
    const py::object kind = py::getattr(item, "kind", py::str(""));
    if (!kind.equal(py::str(""))) refusal.kind = text_of(item, kind);
    const py::object never = py::getattr(item, "never", py::bool_(false));
    if (!PyBool_Check(never.ptr())) refuse(item);
    refusal.never = never.cast<bool>();
    const py::object due = py::getattr(item, "due", py::none());
    try {
      if (!due.is_none()) refusal.due = moment_from(due, "due");
    } catch (const Failure& failure) {
      instance_->nonsense("returned " + shown(item) + ": " + failure.what());
    }
    return refusal;
  }

  // A text that says something.
  std::string text_of(py::handle item, py::handle text) const {
    if (!py::isinstance<py::str>(text) || py::len(text) == 0) refuse(item);
    return text.cast<std::string>();
  }

  [[noreturn]] void refuse(py::handle answer) const {
    instance_->nonsense("returned " + shown(answer) +
                        "; right would be None, a text that says why, a Refusal or a list of them");
  }

  Shared instance_;
};

class PythonOrdering final : public Ordering {
 public:
  PythonOrdering(Shared instance, const SchedView& view)
      : instance_(std::move(instance)), scope_(view) {}
  ~PythonOrdering() override {
    const py::gil_scoped_acquire gil;
    try {
      // A generator is closed while its view can still be read.
      if (iterator_ && py::hasattr(iterator_, "close")) iterator_.attr("close")();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable(instance_->name.c_str());
    }
    iterator_ = placed_ = narrow_ = last_ = py::object();
  }

  void start() {
    const py::object order = instance_->method(ViewHandle{scope_.pass()});
    const py::object placed = py::getattr(order, "placed", py::none());
    if (!placed.is_none()) placed_ = placed;
    const py::object narrow = py::getattr(order, "narrow", py::none());
    if (!narrow.is_none()) narrow_ = narrow;
    PyObject* iterator = PyObject_GetIter(order.ptr());
    if (iterator == nullptr) {
      PyErr_Clear();
      instance_->nonsense("returned " + shown(order) +
                          "; right would be sessions of the view in an iterable");
    }
    iterator_ = py::reinterpret_steal<py::object>(iterator);
  }

  std::optional<PendingIndex> next() override {
    const py::gil_scoped_acquire gil;
    return instance_->run([&]() -> std::optional<PendingIndex> {
      const auto item = py::reinterpret_steal<py::object>(PyIter_Next(iterator_.ptr()));
      if (!item) {
        if (PyErr_Occurred()) throw py::error_already_set();
        return std::nullopt;
      }
      if (!py::isinstance<PendingHandle>(item)) {
        instance_->nonsense("gave " + shown(item) + ", which is no session of the view");
      }
      const auto& handle = item.cast<const PendingHandle&>();
      if (handle.pass != scope_.pass() || !handle.index) {
        instance_->nonsense("gave a session of another pass");
      }
      if (!drawn_.insert(*handle.index).second)
        instance_->nonsense("gave " + shown(item) + " twice");
      last_ = item;
      return *handle.index;
    });
  }

  void placed(PendingIndex) override {
    if (!placed_) return;
    const py::gil_scoped_acquire gil;
    instance_->run([&] { placed_(last_); });
  }

  void narrow(std::uint32_t request, Duration longest) override {
    if (!narrow_) return;
    const py::gil_scoped_acquire gil;
    instance_->run([&] {
      const py::object seconds =
          longest.ns < 0 ? py::object(py::none()) : py::object(py::float_(longest.seconds()));
      narrow_(request, seconds);
    });
  }

 private:
  Shared instance_;
  PassScope scope_;
  std::unordered_set<PendingIndex> drawn_;
  py::object iterator_, placed_, narrow_, last_;
};

class PythonSequencer final : public Sequencer {
 public:
  explicit PythonSequencer(Shared instance) : instance_(std::move(instance)) {}

  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    const py::gil_scoped_acquire gil;
    return instance_->run([&] {
      auto ordering = std::make_unique<PythonOrdering>(instance_, view);
      ordering->start();
      return std::unique_ptr<Ordering>(std::move(ordering));
    });
  }

 private:
  Shared instance_;
};

template <class Adapter>
auto factory(Shared instance) {
  return [instance = std::move(instance)](PolicyOptions&) {
    return std::make_unique<const Adapter>(instance);
  };
}

}  // namespace

std::shared_ptr<PolicyHost> PolicyHost::make() { return shared_under_gil(new PolicyHost()); }

std::string PolicyHost::note(const std::string& policy, const std::string& method,
                             const std::string& text, py::object exception) {
  if (errors_.size() >= kPolicyErrorsMax) PyList_SetSlice(errors_.ptr(), 0, 1, nullptr);
  errors_.append(py::make_tuple(policy, method, text, std::move(exception)));
  return "policy " + policy + "." + method + " " + text;
}

void PolicyHost::keep(py::error_already_set& error) {
  if (interrupted_.load()) return;
  type_ = error.type();
  value_ = error.value();
  trace_ = error.trace();
  interrupted_.store(true);
}

void PolicyHost::rethrow() {
  if (!interrupted_.exchange(false)) return;
  PyErr_Restore(type_.release().ptr(), value_.release().ptr(), trace_.release().ptr());
  throw py::error_already_set();
}

void add_python_policy(PolicyRegistry& registry, const std::string& kind, const std::string& name,
                       py::object policy, const std::shared_ptr<PolicyHost>& host) {
  std::string method_name = kind == "sequencer"   ? "order"
                            : kind == "validator" ? "check"
                            : kind == "selector"  ? "select"
                                                  : "";
  if (method_name.empty()) invalid("There is no kind of policy named \"" + kind + "\"");
  const bool scores = kind == "selector" && py::hasattr(policy, "score");
  if (scores) method_name = "score";
  const py::object method = py::getattr(policy, method_name.c_str(), py::none());
  if (PyCallable_Check(method.ptr()) == 0 || PyType_Check(policy.ptr())) {
    invalid("policy " + name + ": a " + kind + " is an object with a method \"" + method_name +
            "\", not " + shown(policy));
  }
  py::object device = py::getattr(policy, "device", py::none());
  if (kind != "selector" || PyCallable_Check(device.ptr()) == 0) device = py::object();
  const Shared instance = shared_under_gil(
      new Instance{name, method_name, std::move(policy), method, std::move(device), host});
  if (kind == "sequencer") {
    must(registry.add_sequencer(name, factory<PythonSequencer>(instance)));
  } else if (kind == "validator") {
    must(registry.add_validator(name, factory<PythonValidator>(instance)));
  } else if (scores) {
    must(registry.add_selector(name, factory<PythonScoreSelector>(instance)));
  } else {
    must(registry.add_selector(name, factory<PythonSelector>(instance)));
  }
}

}  // namespace bai::python
