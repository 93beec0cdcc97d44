// The extension module bai_manager._core.
#include "common.hpp"

PYBIND11_MODULE(_core, m) {
  m.doc() = "The native half of bai_manager; use the package, not this module.";
  bai::python::define_errors(m);
  bai::python::define_rows(m);
  bai::python::define_snapshot(m);
  bai::python::define_view(m);
  bai::python::define_engine(m);
}
