// Which curves are drawn of a comparison.
#pragma once

#include <vector>

#include "sim/batch.hpp"
#include "sim/openb.hpp"
#include "sim/plot.hpp"

namespace bai::sim {

Figure batch_figure(const JobLog& log, const std::vector<BatchRun>& runs);
Figure openb_figure(const OpenbTrace& trace, const std::vector<OpenbRun>& runs);

}  // namespace bai::sim
