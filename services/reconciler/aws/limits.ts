// types first
