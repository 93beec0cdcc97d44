// Errors of the library as exceptions, one class per error code (bai_manager/errors.py).
#include "common.hpp"

namespace bai::python {

py::object make_exception(const Error& error) {
  const py::object make = py::module_::import("bai_manager.errors").attr("make");
  py::dict data;
  for (const auto& [name, value] : error.data) data[py::str(name)] = value;
  return make(std::string(to_string(error.code)), error.message, error.kind, data);
}

void define_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Failure& failure) {
      const py::object exception = make_exception(failure.error());
      PyErr_SetObject(py::type::handle_of(exception).ptr(), exception.ptr());
    }
  });
}

}  // namespace bai::python
