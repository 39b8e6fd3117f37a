// Everything stands in the headers.
